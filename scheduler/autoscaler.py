"""The autoscaler of one host: every tick it brings the pools of the host's GPUs to the slots that fit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

from celery import Celery
from pydantic import ValidationError
from redis import Redis

from scheduler.devices import Devices, read_devices, slots_of
from scheduler.nvml import GpuReading
from scheduler.pools import Pools
from scheduler.resizing import Change, decide
from shared import keys, queues
from shared.fleet import Fleet
from shared.settings import Settings
from shared.wire import GpuStatus, SlotDecision

_log = logging.getLogger(__name__)


class Autoscaler:
    """Wanted minus live slots, GPU by GPU; Redis errors pass through, all else is a decision's reason."""

    def __init__(
        self,
        app: Celery,
        redis: Redis,
        settings: Settings,
        *,
        read: Callable[[Settings], Devices] = read_devices,
    ) -> None:
        self._app = app
        self._redis = redis
        self._settings = settings
        self._read = read
        self._pools = Pools(app, redis)

    def tick(self, now: float) -> list[SlotDecision]:
        """One look at every GPU of this host, and the resizes that follow from it."""
        devices = self._read(self._settings)
        statuses = self._statuses(now)
        sizes = self._pools.sizes([status.node for status in statuses.values()])
        decisions = [self._settle(gpu, devices, statuses.get(gpu.index), sizes, now) for gpu in devices.gpus]
        for decision in decisions:
            self._tell(decision)
        return decisions

    def _statuses(self, now: float) -> dict[int, GpuStatus]:
        """This host's GPUs whose nodes are alive: a dead node would only cost time to wait for."""
        alive = Fleet(self._redis).gpus(now, self._settings.heartbeat_timeout)
        return {status.index: status for status in alive if status.host == self._settings.host}

    def _settle(
        self, gpu: GpuReading, devices: Devices, status: GpuStatus | None, sizes: dict[str, int], now: float
    ) -> SlotDecision:
        node = queues.gpu_node(self._settings.host, gpu.index)
        count = slots_of(gpu, devices, status, self._settings)
        wanted, reason = (None, str(gpu.problem)) if count is None else (count.slots, count.reason)
        live = sizes.get(node)
        change = decide(wanted, live, self._wanted_before(gpu, now))
        outcome, details = self._carry_out(node, live, change)
        return SlotDecision(
            gpu=queues.gpu_id(self._settings.host, gpu.index),
            node=node,
            at=now,
            wanted=wanted,
            live=live,
            action=change.action,
            outcome=outcome,
            reason=f"{reason}; {details}",
        )

    def _carry_out(self, node: str, live: int | None, change: Change) -> tuple[str, str]:
        if change.action == "hold" or live is None:
            return "none", change.why
        by = change.by if change.action == "grow" else -change.by
        return self._pools.resize(node, live, by)

    def _wanted_before(self, gpu: GpuReading, now: float) -> int | None:
        """What the last tick wanted; None when there was none for a while, or it could not read."""
        key = keys.slot_decision(queues.gpu_id(self._settings.host, gpu.index))
        text = cast("bytes | None", self._redis.get(key))
        if text is None:
            return None
        try:
            decision = SlotDecision.from_json(text)
        except ValidationError:  # of another version
            return None
        is_recent = now - decision.at <= 3 * self._settings.autoscale_interval
        return decision.wanted if is_recent else None

    def _tell(self, decision: SlotDecision) -> None:
        """Remember the decision, and tell people, front ends, Celery's listeners and the counters."""
        text = decision.to_json()
        lifetime = max(1, int(12 * self._settings.autoscale_interval))
        pipeline = self._redis.pipeline()
        pipeline.set(keys.slot_decision(decision.gpu), text, ex=lifetime)
        pipeline.publish(keys.SLOT_CHANNEL, text)
        pipeline.hincrby(keys.SLOT_COUNTS, f"{decision.gpu}/{decision.action}/{decision.outcome}", 1)
        pipeline.execute()
        level = logging.DEBUG if decision.action == "hold" else logging.INFO
        _log.log(level, "slots %s", text)
        me = queues.scheduler_node(self._settings.host)
        with self._app.events.default_dispatcher(hostname=me) as events:
            events.send(f"slots-{decision.action}", **decision.model_dump())
