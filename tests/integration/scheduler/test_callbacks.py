"""The end of a job is reported to the address that the job names, and never to an address that is not allowed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.conftest import SPEECH
from tests.integration.shared.test_audio_urls import trickling
from tests.support.fleet_processes import running_fleet
from tests.support.waiting import wait_until
from whisper_fleet.scheduler.intake import callbacks
from whisper_fleet.scheduler.intake.callbacks import call_back
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import CallbackNotAllowed, FileMissing
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


class Listener(ThreadingHTTPServer):
    """A service that keeps what it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_only_an_address_that_is_allowed_is_called_at_the_end(
    redis_url: str, tmp_path: Path, listener: Listener
) -> None:
    allowed = [f"{listener.url}/mine/"]
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, callback_prefixes=allowed) as fleet:
        refused = fleet.submit(file_path="/no.wav", callback_url=f"{listener.url}/others")
        with pytest.raises(CallbackNotAllowed, match="CALLBACK_PREFIXES"):
            refused.get(timeout=60)
        missing = fleet.submit(file_path="/no.wav", callback_url=f"{listener.url}/mine/jobs")
        with pytest.raises(FileMissing):
            missing.get(timeout=60)
        wait_until(lambda: listener.received, 20)
        time.sleep(0.5)
    assert listener.received == [{"job": missing.id, "state": "failed"}]


@pytest.mark.parametrize("terminate", [False, True])
def test_a_job_that_celery_revoked_is_reported_and_its_audio_dropped(
    redis_url: str, tmp_path: Path, listener: Listener, terminate: bool
) -> None:
    settings = {"callback_prefixes": [listener.url]}
    with running_fleet(["intake"], redis_url, tmp_path, tmp_path, **settings) as fleet:
        job = fleet.submit(file_path=min(SPEECH.glob("*.wav")), callback_url=listener.url)
        wait_until(lambda: (job.info or {}).get("stage") == "queued", 30)
        audio = Spool(fleet.settings).folder(job.id)
        audio.mkdir(parents=True)
        job.revoke(terminate=terminate)
        wait_until(lambda: job.state == "REVOKED", 20)
        wait_until(lambda: listener.received, 10)
        wait_until(lambda: not audio.exists(), 10)
        time.sleep(0.5)
    assert listener.received == [{"job": job.id, "state": "cancelled"}]


def test_a_service_that_answers_slowly_holds_up_no_job(redis_url: str, tmp_path: Path, redis: Redis) -> None:
    """Four services that send a header's byte now and then, as many as there are processes, and then a fifth job."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"  # accepted by the system, and never answered
        with running_fleet(["intake"], redis_url, tmp_path, tmp_path, callback_prefixes=[url]) as fleet:
            started = time.monotonic()
            for _ in range(8):
                with pytest.raises(FileMissing):
                    fleet.submit(file_path="/no.wav", callback_url=url).get(timeout=60)
            first = fleet.submit(file_path="/no.wav")
            with pytest.raises(FileMissing):
                first.get(timeout=60)
            assert time.monotonic() - started < 15  # and not 8 times the 5 s of a callback
            wait_until(lambda: not redis.zcard(keys.CALLBACKS), 30)


def test_a_callback_that_sends_a_byte_now_and_then_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(callbacks, "_SECONDS", 0.5)
    with trickling(b"HTTP/1.1 200 OK\r\nX-Slow: ") as url:
        started = time.monotonic()
        call_back(url, "j", JobState.DONE, Settings(callback_prefixes=(url,)))
        assert time.monotonic() - started < 5
    assert "it took longer than 0.5 s" in caplog.text


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """The address of a server that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


def test_a_service_that_answers_nonsense_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with answering(b"this is no HTTP\r\n\r\n") as url:
        call_back(url, "j", JobState.DONE, Settings(callback_prefixes=(url,)))
    assert f"the callback to {url} failed" in caplog.text
