"""Limits of keys, what keys used, and the commands that manage both."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from redis import Redis

from tests.support.http_server import running_server
from tests.support.ledger_by_hand import LedgerByHand, request
from tests.support.results_by_hand import RESULT, publish_result
from tests.support.waiting import wait_until
from whisper_fleet.cli.keys import keys as keys_command
from whisper_fleet.cli.keys import usage as usage_command
from whisper_fleet.http import app
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.api_keys import KeyStore
from whisper_fleet.shared.http.usage import day_of
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings, load_settings

pytestmark = pytest.mark.integration

PATH = "/v1/audio/transcriptions"
FORM: dict[str, Any] = {"data": {"model": "whisper-1"}, "files": {"file": ("a.mp3", b"sound")}}


@pytest.fixture
def http(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(app, "_COUNT_INTERVAL", 0.1)
    monkeypatch.setenv("WHISPER_FLEET_REDIS_URL", redis_url)
    load_settings.cache_clear()
    settings = Settings(redis_url=redis_url, var_dir=tmp_path / "var", model_dir=tmp_path, max_waiting_jobs=3)
    with running_server(settings) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client
    load_settings.cache_clear()


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def run(command: Any, *arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result


def created(*options: str) -> dict[str, str]:
    """Create a key as an operator does; return the headers of its user."""
    token = run(keys_command, "create", *options).stdout.strip()
    return {"authorization": f"Bearer {token}"}


def refused(response: httpx.Response) -> int:
    """Check that it is a 429, and return when to try again."""
    assert (response.status_code, response.json()["error"]["type"]) == (429, "rate_limit_error")
    return int(response.headers["retry-after"])


def submitted(http: httpx.Client, ledger: LedgerByHand, headers: dict[str, str], content: bytes) -> str:
    """Submit a file and disconnect as late as possible; return its job, whose upload is not needed."""
    known = set(ledger.jobs())
    files = {"file": ("a.mp3", content)}
    with httpx.stream(
        "POST",
        f"{http.base_url}{PATH}",
        data={"model": "whisper-1", "stream": "true"},
        files=files,
        headers=headers,
        timeout=20,
    ) as response:
        assert response.status_code == 200
        (job,) = set(ledger.jobs()) - known
        return job


def test_the_tenant_of_a_job_is_that_of_the_key(http: httpx.Client, ledger: LedgerByHand) -> None:
    job = submitted(http, ledger, created("--tenant", "acme"), b"1")
    assert ledger.job(job).request.tenant == "acme"
    other = created("--tenant", "acme", "--scope", "read")
    assert http.post(PATH, headers=other, **FORM).status_code == 403


def test_a_key_may_send_so_many_requests_per_minute(http: httpx.Client) -> None:
    limited, free = created("--tenant", "a", "--requests-per-minute", "2"), created("--tenant", "a")
    statuses = [http.get("/v1/models", headers=limited).status_code for _ in range(2)]
    assert set(statuses) == {200}
    response = http.get("/v1/models", headers=limited)
    assert response.status_code == 200 or 1 <= refused(response) <= 60  # or a new minute has begun
    assert http.get("/v1/models", headers=free).status_code == 200


def test_a_key_may_have_so_many_jobs_at_once(http: httpx.Client, ledger: LedgerByHand, redis: Redis) -> None:
    headers = created("--tenant", "a", "--concurrent-jobs", "1")
    (key,) = KeyStore(redis).all()
    assert ledger.accept("j", request(), 1.0)
    redis.zadd(http_keys.key_jobs(key.id), {"j": time.time()})
    assert 1 <= refused(http.post(PATH, headers=headers, **FORM)) <= 120
    ledger.cancel("j", 2.0)
    assert submitted(http, ledger, headers, b"2")


def test_a_key_may_transcribe_so_many_hours_per_day(http: httpx.Client, redis: Redis) -> None:
    headers = created("--tenant", "a", "--audio-hours-per-day", "0.5")
    (key,) = KeyStore(redis).all()
    redis.hset(http_keys.usage(day_of(time.time())), f"{key.id}/audio_seconds", 1800.0)
    assert 1 <= refused(http.post(PATH, headers=headers, **FORM)) <= 86400
    assert http.get("/v1/models", headers=headers).status_code == 200


def test_a_tenant_whose_share_of_the_backlog_is_full_is_refused_before_it_uploads(
    http: httpx.Client, ledger: LedgerByHand
) -> None:
    headers, other = created("--tenant", "a"), created("--tenant", "b")
    for number in range(3):
        ledger.planned(f"j{number}", tenant="a")
    assert 1 <= refused(http.post(PATH, headers=headers, **FORM)) <= 120
    assert submitted(http, ledger, other, b"3")


def test_a_job_that_is_done_counts_once_and_a_failed_one_does_not(
    http: httpx.Client, ledger: LedgerByHand, redis: Redis
) -> None:
    headers, admin = created("--tenant", "a"), created("--tenant", "ops", "--scope", "admin")
    (key, _) = KeyStore(redis).all()
    for job, state in (("done", "done"), ("failed", "failed")):
        redis.zadd(http_keys.key_jobs(key.id), {job: time.time()})
        redis.hset(keys.job(job), mapping={"state": state, "duration": 90.5})
    wait_until(lambda: redis.zcard(http_keys.key_jobs(key.id)) == 0)
    (used,) = http.get("/v1/usage", headers=headers).json()["data"]
    assert (used["key"], used["tenant"], used["jobs"], used["audio_seconds"]) == (key.id, "a", 1, 90.5)
    assert used["requests"] == 1
    assert {day["tenant"] for day in http.get("/v1/usage?days=1", headers=admin).json()["data"]} == {"a", "ops"}
    assert http.get("/v1/usage?days=0", headers=admin).json()["error"]["param"] == "days"
    lines = [json.loads(line) for line in run(usage_command, "--json").stdout.splitlines()]
    assert {line["key"]: line["audio_seconds"] for line in lines}[key.id] == 90.5
    assert "audio: 0.03 h" in run(usage_command).stdout


def test_keys_are_listed_and_revoked(http: httpx.Client, redis: Redis) -> None:
    headers = created("--tenant", "acme", "--concurrent-jobs", "3")
    (key,) = KeyStore(redis).all()
    assert f"{key.id} " in run(keys_command, "list").stdout
    assert "concurrent_jobs=3" in run(keys_command, "list").stdout
    (listed,) = json.loads(run(keys_command, "list", "--json").stdout)
    assert listed["scopes"] == ["submit", "read"]
    assert "digest" not in listed
    run(keys_command, "revoke", key.id)
    assert "revoked" in run(keys_command, "list").stdout
    assert http.get("/v1/models", headers=headers).status_code == 401
    assert CliRunner().invoke(keys_command, ["revoke", "unknown"]).exit_code == 1
    assert CliRunner().invoke(keys_command, ["create", "--tenant", "a", "--scope", "root"]).exit_code == 2


def test_jobs_without_a_key_are_counted_too(http: httpx.Client, ledger: LedgerByHand, redis: Redis) -> None:
    job = submitted(http, ledger, {}, b"4")
    publish_result(redis, job, "SUCCESS", RESULT)
    redis.hset(keys.job(job), mapping={"state": "done", "duration": 10.0})
    wait_until(lambda: redis.hget(http_keys.USAGE_TOTAL, "none/audio_seconds") == b"10")
