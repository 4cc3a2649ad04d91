"""Flower's pages, read in a real browser: nodes, queues, tasks and the true size of a resized pool."""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from tests.support.browser import chromium_path
from tests.support.fleet_command import FleetCommand
from tests.support.waiting import wait_until
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import load_settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]

Page = Callable[[str], str]
HOST = load_settings().host
#: A browser that asks nobody but Flower.
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=8000",
]


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; skipped where there is none, but not in CI."""
    return chromium_path()


@pytest.fixture
def page(chromium: str, up: FleetCommand, tmp_path: Path) -> Page:
    """Reads one of Flower's pages as a person would see it, without the tags."""
    address = re.search(r"Flower\s+(http://\S+)", up.output())
    assert address is not None

    def read(path: str) -> str:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [chromium, *QUIET, profile, "--dump-dom", f"{address[1]}/{path}"]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
        visible = re.sub(r"<script.*?</script>|<style.*?</style>", "", dom, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", visible)).split())

    return read


def test_flower_lists_the_nodes(page: Page) -> None:
    shown = page("workers?refresh=1")
    for node in (f"scheduler@{HOST}", f"intake@{HOST}", str(names.GpuName(HOST, 0).node())):
        assert f"{node} Online" in shown


def test_flower_shows_the_pinned_queue_of_a_gpu(page: Page) -> None:
    _, active = page(f"worker/{names.GpuName(HOST, 0).node()!s}").split("Active queues")
    assert f"Auto delete gpu.{HOST}.0 " in active
    for queue in ("transcribe", "assemble", "scheduler", f"gpu.{HOST}.0"):
        assert f" {queue} " in page("broker")


def test_flower_lists_jobs_by_file_and_no_ticks(page: Page, up: FleetCommand, speech: dict[Path, str]) -> None:
    job = up.command("submit", str(min(speech)), "--language", "en", "--wait")
    assert job.returncode == 0, job.stdout
    shown = page("tasks")
    for task in ("transcribe_segment", "assemble"):  # a job's first and last step share an id, and so a line
        assert re.search(rf"\b{task} {{'file': '{min(speech).name}'", shown), shown
    for tick in ("autoscale", "recover", "clean", "dispatch"):
        assert f" {tick} " not in shown


def test_flower_shows_the_size_that_the_pool_has_now(page: Page, up: FleetCommand) -> None:
    beat, node = up.process("beat"), str(names.GpuName(HOST, 0).node())
    assert beat is not None
    beat.suspend()  # the autoscaler shall not answer
    try:
        for size in resized(up):
            # Flower shows what it knew and asks the node meanwhile, so a reload shows what is true.
            expected, path = f"Max concurrency {size} ", f"worker/{node}"
            wait_until(partial(_shows, page, path, expected), 60, interval=0.2)
    finally:
        beat.resume()


def resized(up: FleetCommand) -> Iterator[int]:
    """The sizes that the pool has after being grown and shrunk, as its own heartbeat tells."""
    url, node = (up.var / "run" / "redis.url").read_text(), str(names.GpuName(HOST, 0).node())
    with Celery(broker=url, backend=url, set_as_current=False) as app, Redis.from_url(url) as redis:
        for change in (+2, +1, -2):
            size = slots(redis) + change
            resize = app.control.pool_grow if change > 0 else app.control.pool_shrink
            resize(abs(change), destination=[node], reply=True)
            wait_until(partial(_has_slots, redis, size), 20, interval=0.2)
            yield size


def _shows(page: Page, path: str, text: str) -> bool:
    return text in page(path)


def _has_slots(redis: Redis, size: int) -> bool:
    return slots(redis) == size


def slots(redis: Redis) -> int:
    return GpuRegistry(redis).all()[0].slots
