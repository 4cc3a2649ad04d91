"""Many uploads, half of them slow, while the HTTP server, intake and Redis are killed: each gets its one answer."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
import wave
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from tests.support.fleet_processes import ALL, FleetProcesses, running_fleet
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_until
from whisper_fleet import FleetClient, JobState
from whisper_fleet.shared.http.upload_keepers import RECEIVING_LEASE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

RATE = 16_000
SHORT = {"sample_len": 4, "logprob_threshold": -100.0, "no_speech_threshold": "null"}


class HttpProcess:
    """The product's own process, which this test starts again when it kills it, as the supervisor does."""

    def __init__(self, fleet: FleetProcesses) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._fleet = fleet
        self.most_bytes = 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "whisper_fleet.http", str(self.port)]
        with self._fleet.log("http").open("ab") as out:
            self.process = subprocess.Popen(command, env=self._fleet.environment, stdout=out, stderr=out)
        wait_until(self._answers, interval=0.2)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def measure(self) -> None:
        with suppress(psutil.Error):
            self.most_bytes = max(self.most_bytes, psutil.Process(self.process.pid).memory_info().rss)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        return False


class SlowFile(io.BytesIO):
    """A file whose reader waits before every piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(random.uniform(0.1, 0.5))
        return super().read(size)


@contextmanager
def killed_now_and_then(
    http: HttpProcess, fleet: FleetProcesses, redis: RedisServer, answered: list[str], every: int
) -> Iterator[Counter[str]]:
    """Kill one of the three after every few answers while the context lasts, and start it again.

    By answers and not by the clock, so that a machine on which everything is slow is not killed without an end.
    """
    stop, kills = threading.Event(), Counter[str]()

    def kill() -> None:
        while not stop.wait(random.uniform(1.0, 3.0)):
            if len(answered) < every * sum(kills.values()):
                continue
            victim = ("http", "intake", "redis")[sum(kills.values()) % 3]
            kills[victim] += 1
            if victim == "http":
                http.kill()
                http.start()
            elif victim == "redis":
                redis.kill()
                redis.start()
            else:
                os.kill(fleet.processes["intake"].pid, signal.SIGKILL)
                fleet.processes["intake"].wait()
                fleet.start("intake")

    def measure() -> None:
        while not stop.wait(0.2):
            http.measure()

    threads = [threading.Thread(target=kill), threading.Thread(target=measure)]
    for thread in threads:
        thread.start()
    try:
        yield kills
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def recording(number: int, seconds: float) -> bytes:
    """Return a WAV file that no other number has."""
    noise = random.Random(number)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(noise.randbytes(int(2 * RATE * seconds)))
    return file.getvalue()


def upload(url: str, number: int, seconds: float) -> str:
    """Upload as OpenAI's client does, which sends a request again a few times; the user tries again after that."""
    for _ in range(20):
        content = recording(number, seconds)
        file = SlowFile(content) if number % 2 else io.BytesIO(content)
        with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", timeout=300) as client:
            try:
                answer = client.audio.transcriptions.create(
                    file=(f"{number}.wav", file), model="whisper-1", language="en", extra_body=SHORT
                )
                return answer.text
            except (openai.APIConnectionError, openai.InternalServerError):
                time.sleep(random.uniform(0.5, 2.0))
    raise AssertionError(f"upload {number} got no answer")


@pytest.mark.parametrize(
    ("uploads", "clients"), [pytest.param(200, 50, marks=pytest.mark.slow), pytest.param(12, 6, marks=pytest.mark.slow)]
)
def test_every_upload_is_answered_once(tmp_path: Path, tiny_model: Path, uploads: int, clients: int) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    options = {
        "default_model": str(tiny_model),
        "default_precision": "float32",
        "heartbeat_timeout": 30,
        "janitor_interval": 3,
    }
    try:
        with running_fleet(ALL, redis.url, tmp_path, tiny_model.parent, **options) as fleet:
            http = HttpProcess(fleet)
            upload(http.url, 0, 1.0)
            http.measure()
            before = http.most_bytes
            try:
                answered, began = list[str](), time.monotonic()
                with (
                    killed_now_and_then(http, fleet, redis, answered, every=uploads // 20 + 1) as kills,
                    ThreadPoolExecutor(clients) as threads,
                ):
                    uploading = lambda number: answered.append(upload(http.url, number, 8.0))  # noqa: E731
                    list(threads.map(uploading, range(1, uploads + 1)))
                assert len(answered) == uploads
                print(f"{uploads} uploads by {clients} clients in {time.monotonic() - began:.0f} s")
                check_jobs(fleet, uploads + 1)
                check_uploads(fleet)
                print(f"kills: {dict(kills)}, memory of http: {before:,} B before, {http.most_bytes:,} B at most")
                assert http.most_bytes < before + 150 * 2**20
            finally:
                http.process.terminate()
                http.process.wait()
    finally:
        redis.kill()


def check_uploads(fleet: FleetProcesses) -> None:
    """Check that nothing stays on the disk: leases of uploads that a killed server received expire in two minutes."""
    wait_until(lambda: not any(fleet.settings.uploads.iterdir()), RECEIVING_LEASE + 120, interval=0.5)


def check_jobs(fleet: FleetProcesses, uploads: int) -> None:
    """Check that each upload has one job that is done, and that what was cancelled was not needed."""
    with FleetClient(fleet.settings) as client:
        states = Counter(record.state for record in client.newest(10 * uploads))
    assert states[JobState.DONE] == uploads, states
    assert states[JobState.FAILED] == 0, states
