"""Three hosts as network namespaces on one Redis, each with other roles: they share work, join, and are cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from celery import Celery
from redis import Redis

from tests.chaos.scene import network
from tests.chaos.scene.host import Host, quiet_environment
from tests.chaos.scene.sound import LONGEST_SEGMENT, noise_files
from tests.chaos.scene.store import Store
from tests.conftest import missing
from tests.support.waiting import wait_until
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

#: What each host runs. `front` has no GPU, and `late` joins under load.
ROLES = {"front": ["scheduler", "intake"], "both": ["scheduler", "intake", "gpu"], "late": ["gpu"]}
JOBS, SEGMENTS = 8, 4


class Site:
    """A Redis, the hosts, and a client that has only Celery."""

    def __init__(self, folder: Path, model: Path, stack: ExitStack) -> None:
        self.network = network.Network(list(ROLES))
        stack.callback(self.network.close)
        (folder / "disk").mkdir()
        self.store = Store(folder / "disk" / "data", self.network.address)
        self.store.start()
        stack.callback(self.store.kill)
        self.model = model
        self.files = noise_files(folder / "sound", JOBS, SEGMENTS * 20)
        self.hosts = {name: self._host(name, folder, stack) for name in ROLES}
        self.redis = stack.enter_context(Redis.from_url(self.store.url, decode_responses=True))
        self.registry = GpuRegistry(stack.enter_context(Redis.from_url(self.store.url)))
        self.client = Celery("client", broker=self.store.url, backend=self.store.url, set_as_current=False)
        stack.callback(self.client.close)

    def _host(self, name: str, folder: Path, stack: ExitStack) -> Host:
        variables = {
            "WHISPER_FLEET_REDIS_URL": self.store.url,
            "WHISPER_FLEET_SPOOL_DIR": str(folder / "spool"),
            "WHISPER_FLEET_ROLES": json.dumps(ROLES[name]),
            "WHISPER_FLEET_DEVICE": "cpu",
            "WHISPER_FLEET_DEFAULT_PRECISION": "float32",
            "WHISPER_FLEET_SLOT_POLICY": "fixed:2",
            **quiet_environment(),
        }
        host = Host(name, folder / name, self.model, variables, self.network.prefix(name))
        stack.callback(lambda: host.stop() if host.is_up else None)
        return host

    def submit(self) -> list[Any]:
        """Send all jobs, and return their results to come."""
        request = {
            "model_name": str(self.model),
            "language": "en",
            "temperature": 0.0,
            "sample_len": 64,
            "segment_duration": LONGEST_SEGMENT,
        }
        sent = [{**request, "file_path": str(file)} for file in self.files]
        return [self.client.send_task(names.TRANSCRIBE, kwargs=one, queue=names.TRANSCRIBE_QUEUE) for one in sent]

    def done_on(self, host: str) -> int:
        """Return how many segments the GPU of a host has ever finished."""
        return int(cast("str | None", self.redis.hget(keys.COUNTS, f"segments_done/{host}.0")) or 0)

    def is_busy(self, host: str) -> bool:
        """Return whether segments are assigned to the GPU of a host, or run on it."""
        return bool(self.redis.zcard(keys.active(f"{host}.0")))

    def lease(self) -> str | None:
        """Return the token of the beat that sends the ticks."""
        return cast("str | None", self.redis.get(keys.BEAT_LEASE))


@pytest.fixture
def site(tmp_path: Path, tiny_model: Path) -> Iterator[Site]:
    if not network.is_permitted():
        missing("the right to make network namespaces")
    with ExitStack() as stack:
        yield Site(tmp_path, tiny_model, stack)


def finished(jobs: list[Any]) -> list[str]:
    """Wait for every job, and return the transcripts."""
    wait_until(lambda: all(job.ready() for job in jobs), 300, interval=0.2)
    assert {job.state for job in jobs} == {"SUCCESS"}
    return [str(job.result["text"]) for job in jobs]


def test_hosts_share_work_join_under_load_and_may_be_cut_off(site: Site) -> None:
    site.hosts["front"].start()
    wait_until(site.lease, 120)
    first_lease = site.lease()
    site.hosts["both"].start()
    site.hosts["both"].wait_ready(site.registry)

    # A host joins under load, and gets a share of it.
    jobs = site.submit()
    wait_until(lambda: site.is_busy("both"), 120)
    site.hosts["late"].start()
    site.hosts["late"].wait_ready(site.registry)
    jobs += site.submit()
    finished(jobs)
    assert site.done_on("both") > 0
    assert site.done_on("late") > 0
    segments = site.done_on("both") + site.done_on("late")

    # A host is cut off while it works: its segments run elsewhere.
    jobs = site.submit()
    wait_until(lambda: site.is_busy("late"), 120)
    site.network.cut("late")
    finished(jobs)
    assert site.done_on("both") + site.done_on("late") == segments * 3 // 2  # each segment counts once
    site.network.mend("late")

    # The host whose beat sends the ticks is cut off: another beat takes over, and jobs are accepted and done.
    assert site.lease() == first_lease
    site.network.cut("front")
    wait_until(lambda: site.lease() not in (None, first_lease), 60)
    finished(site.submit())
    site.network.mend("front")
