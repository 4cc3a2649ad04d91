"""What one node has: its engine, its slots, its place in the registry, its ways to Redis."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect, connect_fail_fast
from whisper_fleet.shared.errors import EngineError, JobCancelled, JobNotFound, StaleAttempt
from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.ledger.wakeup import wake_dispatcher
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import EngineRates, GpuStatus
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.admission import Admission
from whisper_fleet.workers.node.engine_command import device_of, engine_command, engine_environment, engine_socket
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.pool.slots import Slots

log = logging.getLogger(__name__)


class Pool(Protocol):
    """What a node needs of its Celery pool, see SlotPool."""

    limit: int
    slots: Slots
    on_resize: Callable[[], None]

    def stop(self) -> None: ...


class Node:
    """Everything of one GPU that is not Celery's; `start` returns at once, threads do the rest."""

    def __init__(self, app: Celery, settings: Settings, name: str, pool: Pool) -> None:
        self.app, self.settings, self.name = app, settings, name
        self.gpu = str(names.GpuName(settings.host, settings.gpu_index))
        self.device = device_of(settings)
        self.redis = connect(settings.redis_url)
        self.ledger = _ledger(self.redis, settings)
        #: Without patience, for what is said again at the next window or heartbeat.
        self.fail_fast = connect_fail_fast(settings.redis_url)
        self.fail_fast_ledger = _ledger(self.fail_fast, settings)
        socket = engine_socket(settings)
        self.engine = EngineProcess(
            engine_command(settings, self.device, socket),
            engine_environment(settings, self.device),
            socket,
            self._on_change,
        )
        self.company = Admission()
        self._pool = pool
        self._started = time.time()
        self._stats: EngineStats | None = None
        self._answered = time.monotonic()
        self._told_slots: int | None = None
        self._draining = False
        self._stopped = threading.Event()
        self._news = {name: threading.Event() for name in ("watch", "beat")}

    def start(self) -> None:
        """Start the engine and join the fleet as soon as it answers."""
        _whatever_redis_says(self._clear_up)
        self._pool.on_resize = self._on_change
        self.engine.start()
        for name, step in (("watch", self._watch), ("beat", self._beat)):
            work = (step, self._news[name])
            threading.Thread(target=self._repeat, args=work, name=name, daemon=True).start()

    def stop(self) -> None:
        """Take no more segments, let the pool end those that run, then leave."""
        self._draining = True
        self._on_change()
        self._pool.stop()
        self._stopped.set()
        self._on_change()
        self.engine.stop()
        _whatever_redis_says(lambda: GpuRegistry(self.fail_fast).leave(self.gpu))
        self.poke()

    def poke(self) -> None:
        """Something here is free: have the dispatcher look, which it also does by itself now and then."""
        _whatever_redis_says(lambda: wake_dispatcher(self.app, self.fail_fast))

    def publish_assemble(self, job: str) -> None:
        """The job's end goes out under the id that the client holds."""
        self.app.send_task(names.ASSEMBLE, task_id=job, queue=names.ASSEMBLE_QUEUE)

    def status(self, stats: EngineStats, now: float) -> GpuStatus:
        """What the registry is told at `now`."""
        total, free, held = stats.total_bytes, stats.free_bytes, sum(stats.memory_bytes.values())
        if self.device == "cpu":
            host = read_host()
            # Its cache is a part of its process, and counts twice beside it: the more slots, the more would fit.
            total, free, held = host.total_bytes, host.free_bytes, stats.memory_bytes.get("process", 0)
        return GpuStatus(
            id=self.gpu,
            host=self.settings.host,
            index=self.settings.gpu_index,
            uuid=stats.uuid or self.device,
            name=stats.name or self.device,
            device=self.device,
            node=self.name,
            queue=names.GpuName.parse(self.gpu).queue,
            slots=self._pool.limit,
            busy=self._pool.slots.busy,
            total_bytes=total,
            free_bytes=free,
            engine_bytes=held,
            engine_pid=stats.pid,
            models=stats.models,
            forms=stats.forms,
            rates=EngineRates(**stats.model_dump(include=set(EngineRates.model_fields))),
            # An engine that has just come back is told its size first: until then these stats are its predecessor's.
            ready=self.engine.ready and self._told_slots is not None and not self._draining,
            started=self._started,
            heartbeat=now,
        )

    def _clear_up(self) -> None:
        """What runs here by the ledger died with the process before us: do not wait for its lease."""
        for message, was_running in self.fail_fast_ledger.overdue(self.gpu, math.inf):
            log.warning("found %s, left behind", message)
            with suppress(StaleAttempt, JobCancelled, JobNotFound):
                if not was_running:
                    self.fail_fast_ledger.reassign(message, time.time())
                elif self.fail_fast_ledger.return_to_queue(message, "its node died", time.time()).job_failed:
                    self.publish_assemble(message.job)

    def _on_change(self) -> None:
        """The pool was resized, the engine came or went, or we leave: tell everybody now."""
        for news in self._news.values():
            news.set()

    def _repeat(self, step: Callable[[], None], news: threading.Event) -> None:
        """A step every heartbeat, and at once when there is news; whatever goes wrong, the next one comes."""
        while not self._stopped.is_set():
            news.clear()
            try:
                step()
            except Exception:
                log.exception("the node goes on after an unforeseen error")
            news.wait(self.settings.heartbeat_interval)

    def _watch(self) -> None:
        """Tell the engine our size and ask how it does; in a thread of its own, for it may take its time."""
        if not self.engine.ready:
            self._told_slots = None
            return
        slots = self._pool.limit
        try:
            if slots != self._told_slots:
                self.engine.client.resize(slots)
            self._stats = self.engine.client.stats()
        except EngineError as error:
            log.warning("the engine does not answer: %s", error)
            return
        self._answered = time.monotonic()
        if slots != self._told_slots:
            self._told_slots = slots
            self._news["beat"].set()

    def _beat(self) -> None:
        """Say in the registry how we are; before the engine has ever answered nobody needs to know us."""
        if time.monotonic() - max(self._answered, self.engine.since) > self.settings.engine_timeout:
            log.error("the engine has been silent for %.0f s and is killed", self.settings.engine_timeout)
            self.engine.kill()
        if self._stats is None or self._stopped.is_set():
            return
        status = self.status(self._stats, time.time())
        _whatever_redis_says(lambda: GpuRegistry(self.fail_fast).beat(status))
        if status.ready and status.busy < status.slots:
            self.poke()


def _ledger(redis: Redis, settings: Settings) -> Ledger:
    return Ledger(redis, max_attempts=settings.max_attempts, retention=settings.job_retention)


def _whatever_redis_says(call: Callable[[], None]) -> None:
    """For what is said again before long: an outage of Redis costs a line in the log."""
    try:
        call()
    except (RedisError, OperationalError, OSError) as error:
        log.warning("Redis does not answer: %s", error)


class _Current:
    """The node of this process."""

    node: Node | None = None


def current_node() -> Node:
    """The node of this process, from the time that its worker has started."""
    if _Current.node is None:
        raise RuntimeError("no GPU node: start it with `celery -A whisper_fleet.workers.app worker -P custom`")
    return _Current.node


def set_current_node(node: Node) -> None:
    """Make `node` the one of this process."""
    _Current.node = node
