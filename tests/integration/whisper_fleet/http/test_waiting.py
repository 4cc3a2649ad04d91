"""Clients that wait: equal uploads share a job, and a job that nobody waits for any more is cancelled."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.support.http_server import running_server
from tests.support.ledger_by_hand import LedgerByHand
from tests.support.results_by_hand import RESULT, failure, publish_result
from tests.support.waiting import wait_until
from whisper_fleet.http.waiting.waiters import Waiters
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration

FORM = {"model": "whisper-1"}
FILE = {"file": ("talk.mp3", b"some audio", "audio/mpeg")}


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, var_dir=tmp_path / "var", model_dir=tmp_path)


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with running_server(settings) as address:
        yield address


@pytest.fixture
def ledger(redis: Redis) -> LedgerByHand:
    return LedgerByHand(redis)


def send(url: str, **changed: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/audio/transcriptions", **{"data": FORM, "files": FILE, "timeout": 60, **changed})


def the_job(ledger: LedgerByHand) -> str:
    wait_until(lambda: ledger.jobs(), 30)
    (job,) = ledger.jobs()
    return job


def has_more(ledger: LedgerByHand, known: set[str]) -> bool:
    return bool(set(ledger.jobs()) - known)


def waiters(redis: Redis, job: str) -> int:
    return max(0, redis.hlen(http_keys.wait(job)) - 1)


def hang_up_soon(url: str) -> socket.socket:
    """Send a complete request and return its connection, without waiting for the response."""
    request = httpx.Request("POST", f"{url}/v1/audio/transcriptions", data=FORM, files=FILE)
    request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    connection = socket.create_connection((request.url.host, request.url.port or 0), timeout=30)
    connection.sendall(f"POST {request.url.path} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
    return connection


def test_equal_uploads_share_a_job_and_others_do_not(url: str, ledger: LedgerByHand, redis: Redis) -> None:
    with ThreadPoolExecutor() as clients:
        first = clients.submit(send, url)
        job = the_job(ledger)
        second = clients.submit(send, url)
        wait_until(lambda: waiters(redis, job) == 2)
        publish_result(redis, job, "SUCCESS", RESULT)
        assert first.result().json() == second.result().json()
        assert ledger.jobs() == [job]
        assert send(url).json() == first.result().json()  # the response was lost, and the client tries again
        other = clients.submit(send, url, data={**FORM, "language": "de"})
        wait_until(lambda: len(ledger.jobs()) == 2)
        publish_result(redis, next(new for new in ledger.jobs() if new != job), "SUCCESS", RESULT)
        assert other.result().status_code == 200


def test_an_upload_is_deleted_when_its_job_has_ended(
    url: str, ledger: LedgerByHand, redis: Redis, settings: Settings
) -> None:
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(send, url)
        job = the_job(ledger)
        (upload,) = settings.uploads.iterdir()
        assert upload.read_bytes() == b"some audio"
        assert ledger.job(job).request.file_path == f"upload://{upload.name}"
        assert upload.stat().st_mode & 0o077 == 0
        publish_result(redis, job, "SUCCESS", RESULT)
        assert answer.result().status_code == 200
    assert list(settings.uploads.iterdir()) == []
    assert redis.keys(keys.upload("*")) == []


def test_a_client_that_disconnects_cancels_its_job(url: str, ledger: LedgerByHand, settings: Settings) -> None:
    connection = hang_up_soon(url)
    job = the_job(ledger)
    connection.close()
    wait_until(lambda: ledger.job(job).state is JobState.CANCELLED, 30)
    wait_until(lambda: not list(settings.uploads.iterdir()))


def test_a_stream_that_is_closed_cancels_its_job(url: str, ledger: LedgerByHand) -> None:
    options: Any = {"data": {**FORM, "stream": "true"}, "files": FILE, "timeout": 60}
    with httpx.stream("POST", f"{url}/v1/audio/transcriptions", **options) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        job = the_job(ledger)
    wait_until(lambda: ledger.job(job).state is JobState.CANCELLED, 30)


def test_a_client_that_disconnects_cancels_nothing_while_another_waits(
    url: str, ledger: LedgerByHand, redis: Redis
) -> None:
    leaving = hang_up_soon(url)
    job = the_job(ledger)
    with ThreadPoolExecutor() as clients:
        staying = clients.submit(send, url)
        wait_until(lambda: waiters(redis, job) == 2)
        leaving.close()
        wait_until(lambda: waiters(redis, job) == 1)
        assert ledger.job(job).state is JobState.ACCEPTED
        publish_result(redis, job, "SUCCESS", RESULT)
        assert staying.result().status_code == 200


def test_a_failed_job_is_not_joined(url: str, ledger: LedgerByHand, redis: Redis) -> None:
    with ThreadPoolExecutor() as clients:
        first = clients.submit(send, url)
        job = the_job(ledger)
        publish_result(redis, job, "FAILURE", failure("SegmentFailed", "it failed"))
        assert (first.result().status_code, first.result().json()["error"]["type"]) == (500, "server_error")
        second = clients.submit(send, url)
        wait_until(lambda: len(ledger.jobs()) == 2)
        publish_result(redis, next(new for new in ledger.jobs() if new != job), "SUCCESS", RESULT)
        assert second.result().status_code == 200


def test_an_error_of_the_file_is_the_clients(url: str, ledger: LedgerByHand, redis: Redis) -> None:
    for kind, status in (("CorruptAudio", 400), ("AudioTooLong", 413), ("TooManyJobs", 429), ("ModelUnavailable", 503)):
        with ThreadPoolExecutor() as clients:
            answer = clients.submit(send, url, files={"file": ("a.mp3", kind.encode())})
            known = set(ledger.jobs())
            wait_until(partial(has_more, ledger, known), 30)
            (job,) = set(ledger.jobs()) - known
            publish_result(redis, job, "FAILURE", failure(kind, "it is wrong"))
            assert answer.result().status_code == status
            assert ("retry-after" in answer.result().headers) == (status in (429, 503))


def test_the_waiters_of_a_server_that_died_expire(redis: Redis, redis_url: str) -> None:
    async def steps() -> None:
        async with AsyncRedis.from_url(redis_url) as client:
            known = Waiters(client)
            assert await known.join("same", "job-1", "a") == "job-1"
            assert await known.join("same", "job-2", "b") == "job-1"
            redis.hset(http_keys.wait("job-1"), "a", time.time() - 1)  # its server died
            assert await known.abandoned() == []
            redis.hset(http_keys.wait("job-1"), "b", time.time() - 1)
            redis.zadd(http_keys.WAITS, {"job-1": time.time() - 1})
            await known.renew("job-1", "b")  # it only seemed dead
            assert await known.abandoned() == []
            redis.hset(http_keys.wait("job-1"), "b", time.time() - 1)
            redis.zadd(http_keys.WAITS, {"job-1": time.time() - 1})
            assert await known.abandoned() == ["job-1"]
            assert await known.abandoned() == []
            assert await known.join("same", "job-3", "c") == "job-3"

    asyncio.run(steps())
    assert 0 < int(redis.ttl(http_keys.join("same"))) <= 600
