"""A scene: Redis, two hosts and what they transcribe. Faults act on its parts; `close` leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import redis as redis_py
from celery import Celery

from tests.chaos.scene import network
from tests.chaos.scene.host import Host, quiet_environment
from tests.chaos.scene.sound import SEGMENT_SECONDS, noise_files
from tests.chaos.scene.store import Store
from tests.chaos.scene.volume import Volume
from tests.support.random_model import save_random_model
from tests.support.waiting import wait_until
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry

HOSTS = ("left", "right")


class Scene:
    """Two hosts of one fleet, with engines that are reproducible, and file systems of a limited size."""

    def __init__(
        self, folder: Path, *, segments: int, files: int = 12, variables: Mapping[str, str] | None = None
    ) -> None:
        """Prepare a scene in `folder`; `files` of noise are cut into `segments` each, and several jobs share one."""
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self.network = network.Network(HOSTS) if network.is_permitted() else None
        if self.network is not None:
            self._stack.callback(self.network.close)
        self.spool, self.outputs, self.disk = (
            self._volume(name, megabytes) for name, megabytes in (("spool", 3000), ("outputs", 64), ("disk", 256))
        )
        self.store = Store(self.disk.path / "data", self.network.address if self.network else "127.0.0.1")
        self._stack.callback(self._kill_store)
        self.files = noise_files(folder / "sound", files, segments * SEGMENT_SECONDS)
        self.model = save_random_model(folder / "tiny-random.pt")
        self.variables = {
            "WHISPER_FLEET_REDIS_URL": self.store.url,
            "WHISPER_FLEET_SPOOL_DIR": str(self.spool.path),
            "WHISPER_FLEET_REPRODUCIBLE": "true",
            "WHISPER_FLEET_DEVICE": "cpu",
            "WHISPER_FLEET_DEFAULT_PRECISION": "float32",
            "WHISPER_FLEET_SLOT_POLICY": "fixed:4",
            "WHISPER_FLEET_FEEDERS": "1",
            **quiet_environment(),
            **(variables or {}),
        }
        self.left, self.right = (self._host(name) for name in HOSTS)
        self.redis = self.store.client()
        self._stack.callback(self.redis.close)
        registry = redis_py.Redis.from_url(self.store.url)
        self._stack.callback(registry.close)
        self.registry = GpuRegistry(registry)
        self.client = Celery("client", broker=self.store.url, backend=self.store.url, set_as_current=False)
        self._stack.callback(self.client.close)

        #: How many dead letters a fault has made and removed.
        self.noted_letters = 0
        #: Submits the jobs of the load that were held back for the fault.
        self.submit_rest: Callable[[], None] = _nothing

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.left, self.right

    def start(self) -> None:
        """Start Redis and both hosts, and wait until their GPUs take segments."""
        self.store.start()
        for host in self.hosts:
            host.start()
            self._stack.callback(host.stop)
        self.wait_ready()

    def repair(self) -> None:
        """Connect and start again what a fault left cut off or dead."""
        if self.network is not None:
            for host in self.hosts:
                self.network.mend(host.name)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Start hosts that are down, and return when every GPU takes segments."""
        for host in self.hosts:
            if not host.is_up:
                host.start()
        for host in self.hosts:
            host.wait_ready(self.registry)

    def running(self, gpu: str) -> dict[str, str]:
        """Return `<segment>:<job>` -> token of the attempts that run on a GPU now."""
        members = cast("list[str]", self.redis.zrange(keys.active(gpu), 0, -1))
        records = {member: self.segment(member) for member in members}
        return {member: str(found["token"]) for member, found in records.items() if found.get("state") == "running"}

    def segment(self, member: str) -> dict[str, object]:
        """Return the record of `<segment>:<job>`; empty if there is none."""
        segment, _, job = member.partition(":")
        stored = cast("str | None", self.redis.hget(keys.segments(job), segment))
        return dict(json.loads(stored)) if stored else {}

    def wait_busy(self, host: Host) -> None:
        """Return at a moment at which a host runs segments; at the latest when the load must be over."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(self.running(host.gpu)) >= 2, 60)

    def segments_done(self) -> int | None:
        """Return how many segments this fleet has ever finished; None while Redis does not answer."""
        try:
            counts = cast("dict[str, str]", self.redis.hgetall(keys.COUNTS))
        except redis_py.RedisError:
            return None
        return sum(int(number) for name, number in counts.items() if name.startswith("segments_done/"))

    def close(self) -> None:
        """End every process and remove what the scene made outside its folder."""
        self._stack.close()

    def close_on_signals(self) -> None:
        """Have SIGTERM and SIGINT end this process in order, also where a shell ignores SIGINT for its children."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit)

    def _volume(self, name: str, megabytes: int) -> Volume:
        volume = Volume(self.folder / name, megabytes)
        self._stack.callback(volume.close)
        return volume

    def _host(self, name: str) -> Host:
        prefix = self.network.prefix(name) if self.network else ()
        return Host(name, self.folder / name, self.model, self.variables, prefix)

    def _kill_store(self) -> None:
        self.store.kill()


def _exit(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _nothing() -> None:
    """Without a load there is nothing to submit."""
