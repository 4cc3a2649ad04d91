"""What the page needs besides the jobs API: the audio of a job in ranges, links to it, retries, and the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.support.fleet_processes import HOST
from tests.support.waiting import wait_until
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.api_keys import KeyLimits, KeyStore, Scope, new_key

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

CLIP = Path(__file__).parents[4] / "whisper_fleet" / "samples" / "sense_and_sensibility-0880.wav"
SHORT = {"sample_len": 12, "logprob_threshold": -100.0, "no_speech_threshold": 1.0, "language": "en"}


@pytest.fixture
def redis(served: ServedFleet) -> Redis:
    return served.fleet.redis


@contextmanager
def api_keys(redis: Redis, *keys: tuple[str, tuple[Scope, ...]]) -> Iterator[list[dict[str, str]]]:
    """Create keys, and provide the header of each; without keys again afterwards."""
    store, headers = KeyStore(redis), []
    try:
        for tenant, scopes in keys:
            key, token = new_key(tenant, scopes, KeyLimits(), 1.0)
            store.add(key)
            headers.append({"authorization": f"Bearer {token}"})
        yield headers
    finally:
        redis.delete(http_keys.API_KEYS)


def stored_file(web: httpx.Client, headers: dict[str, str] | None = None) -> str:
    with CLIP.open("rb") as file:
        response = web.post(
            "/v1/files", data={"purpose": "user_data"}, files={"file": ("talk.wav", file)}, headers=headers
        )
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def submit(web: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> str:
    response = web.post("/v1/jobs", json={**SHORT, **fields}, headers=headers)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def ended(web: httpx.Client, job: str) -> str:
    wait_until(lambda: web.get(f"/v1/jobs/{job}").json()["state"] in ("done", "failed", "cancelled"), 100)
    return str(web.get(f"/v1/jobs/{job}").json()["state"])


def test_the_audio_of_a_job_is_sent_in_ranges(web: httpx.Client) -> None:
    address = f"/v1/jobs/{submit(web, file_id=stored_file(web))}/audio"
    response = web.get(address)
    assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
    assert response.content == CLIP.read_bytes()
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-security-policy"].endswith("sandbox")
    part = web.get(address, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CLIP.read_bytes()[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{CLIP.stat().st_size}"
    for wrong in ("bytes=999999999-", "bytes=nonsense"):
        refused = web.get(address, headers={"range": wrong})
        assert (refused.status_code, refused.json()["error"]["param"]) == (416, "Range")


def test_a_job_of_a_path_has_no_audio_to_send(web: httpx.Client) -> None:
    address = f"/v1/jobs/{submit(web, file_path=str(CLIP))}/audio"
    for response in (web.get(address), web.post(f"{address}/link")):
        assert (response.status_code, response.json()["error"]["code"]) == (404, "not_an_upload")


def test_a_link_plays_the_audio_of_its_job_without_a_key(web: httpx.Client, redis: Redis) -> None:
    with api_keys(redis, ("acme", (Scope.SUBMIT, Scope.READ)), ("other", (Scope.READ,))) as (acme, other):
        job, another = (submit(web, acme, file_id=stored_file(web, acme)) for _ in range(2))
        address = f"/v1/jobs/{job}/audio"
        response = web.post(f"{address}/link", headers=acme)
        assert response.status_code == 201
        url = response.json()["url"]
        assert acme["authorization"].split()[1] not in url
        assert web.get(url).content == CLIP.read_bytes()
        assert web.get(url.replace(job, another)).status_code == 403  # a ticket is good for its job alone
        assert web.get(address).status_code == 401
        assert web.get(address, headers=acme).status_code == 200
        for refused in (web.get(address, headers=other), web.post(f"{address}/link", headers=other)):
            assert refused.status_code == 404
    assert web.get(url).status_code == 403  # its key is deleted


def test_a_link_that_was_made_without_keys_is_good_on_this_machine_only(web: httpx.Client) -> None:
    job = submit(web, file_id=stored_file(web))
    url = web.post(f"/v1/jobs/{job}/audio/link").json()["url"]
    assert web.get(url).status_code == 200
    assert web.get(url, headers={"host": "evil.example"}).status_code == 403
    assert web.get(url[:-1] + ("A" if url[-1] != "A" else "B")).status_code == 403


def test_the_audio_ends_with_its_stored_file(web: httpx.Client) -> None:
    file = stored_file(web)
    job = submit(web, file_id=file)
    ended(web, job)
    assert web.get(f"/v1/jobs/{job}/audio").status_code == 200  # a stored file outlives its jobs
    assert web.delete(f"/v1/files/{file}").status_code == 200
    assert web.get(f"/v1/jobs/{job}/audio").json()["error"]["code"] == "audio_deleted"
    retried = web.post(f"/v1/jobs/{job}/retry")
    assert (retried.status_code, retried.json()["error"]["code"]) == (409, "audio_deleted")


def test_a_retry_is_a_new_job_with_the_same_request(web: httpx.Client, redis: Redis) -> None:
    job = submit(web, file_id=stored_file(web), priority=3, labels={"project": "x"})
    assert ended(web, job) == "done"
    response = web.post(f"/v1/jobs/{job}/retry")
    assert response.status_code == 201
    new = response.json()
    assert response.headers["location"] == f"/v1/jobs/{new['id']}"
    assert new["id"] != job
    assert (new["priority"], new["labels"]) == (3, {"project": "x", "file_name": "talk.wav"})
    assert ended(web, new["id"]) == "done"
    with api_keys(redis, ("other", (Scope.SUBMIT, Scope.READ))) as (other,):
        assert web.post(f"/v1/jobs/{job}/retry", headers=other).status_code == 404


def test_the_fleet_shows_its_hosts_and_the_caller(web: httpx.Client, redis: Redis) -> None:
    shown = web.get("/v1/fleet").json()
    (host,) = shown["hosts"]
    (gpu,) = host["gpus"]
    assert (host["name"], gpu["id"], gpu["device"], gpu["is_ready"]) == (HOST, f"{HOST}.0", "cpu", True)
    assert (shown["gpus"], shown["slots"]) == (1, gpu["slots"])
    assert gpu["memory_total"] > 0
    assert shown["problem"] is None
    assert shown["caller"] == {"tenant": "", "scopes": ["admin", "read", "submit"], "key": None}
    with api_keys(redis, ("acme", (Scope.READ,)), ("acme", (Scope.SUBMIT,))) as (reads, submits):
        assert web.get("/v1/fleet").status_code == 401
        assert web.get("/v1/fleet", headers=submits).status_code == 403
        caller = web.get("/v1/fleet", headers=reads).json()["caller"]
        assert (caller["tenant"], caller["scopes"]) == ("acme", ["read"])
