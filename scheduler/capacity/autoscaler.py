"""The autoscaler of one host: each tick resizes the pools of the host's GPUs to the slots that fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from celery import Celery
from pydantic import ValidationError
from redis import Redis

from whisper_fleet.scheduler.capacity.decisions import DecisionLabels
from whisper_fleet.scheduler.capacity.devices import Devices, problem_of, read_devices, slots_of
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.scheduler.capacity.policies import SlotPolicy, policy_of
from whisper_fleet.scheduler.capacity.pools import Pools, Resize
from whisper_fleet.scheduler.capacity.resizing import Change, decide
from whisper_fleet.scheduler.capacity.slots import SlotLimits
from whisper_fleet.shared import names
from whisper_fleet.shared.errors import BadSetting
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus, SlotDecision

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How the pool of one GPU is to change, and why."""

    gpu: str
    node: str
    wanted: int | None
    live: int | None
    change: Change
    reason: str  # for the wanted slots

    @property
    def resize(self) -> Resize | None:
        """Return the resize that the change asks for; None if the pool stays as it is."""
        if self.change.action == "hold" or self.live is None:
            return None
        return Resize(live=self.live, by=self.change.by if self.change.action == "grow" else -self.change.by)

    def decision(self, outcome: str, details: str, now: float) -> SlotDecision:
        """Return what was decided and how it ended."""
        return SlotDecision(
            gpu=self.gpu,
            node=self.node,
            at=now,
            wanted=self.wanted,
            live=self.live,
            action=self.change.action,
            why=self.change.why,
            outcome=outcome,
            reason=f"{self.reason}; {details}",
        )


class Autoscaler:
    """Compares wanted with live slots per GPU; raises Redis errors, any other error becomes a decision's reason."""

    def __init__(
        self,
        app: Celery,
        redis: Redis,
        settings: Settings,
        *,
        policy: SlotPolicy | None = None,
        read: Callable[[Settings], Devices] = read_devices,
    ) -> None:
        self._app = app
        self._redis = redis
        self._settings = settings
        self._made_for = _basis_of(settings)
        self._policy = policy or policy_of(settings)
        self._read = read
        self._pools = Pools(app, redis)

    def tick(self, now: float) -> list[SlotDecision]:
        """Read every GPU of this host, resize the pools that differ, and publish one decision per GPU."""
        self._follow_policy()
        plans = self._plans(now)
        resizes = {plan.node: resize for plan in plans if (resize := plan.resize) is not None}
        outcomes = self._pools.resize(resizes)
        decisions = [plan.decision(*outcomes.get(plan.node, ("none", plan.change.why)), now) for plan in plans]
        self._publish(decisions)
        return decisions

    def _follow_policy(self) -> None:
        """Make the policy again after a reload has changed its settings; one that cannot be made changes nothing."""
        if _basis_of(self._settings) == self._made_for:
            return
        self._made_for = _basis_of(self._settings)
        try:
            self._policy = policy_of(self._settings)
        except BadSetting as error:
            _log.error("the slot policy stays as it is: %s", error)

    def _plans(self, now: float) -> list[_Plan]:
        devices = self._read(self._settings)
        statuses = self._statuses(devices.gpus, now)
        sizes = self._pools.sizes([status.node for status in statuses.values()])
        before = self._wanted_before(devices.gpus, now)
        return [
            self._plan(gpu, devices, statuses.get(gpu.index), sizes, wanted_before)
            for gpu, wanted_before in zip(devices.gpus, before, strict=True)
        ]

    def _statuses(self, gpus: Sequence[GpuReading], now: float) -> dict[int, GpuStatus]:
        """Return the status of each GPU whose node is alive, by index; waiting for a dead node would waste time."""
        known = GpuRegistry(self._redis).some([self._id(gpu) for gpu in gpus])
        timeout = self._settings.heartbeat_timeout
        return {status.index: status for status in known if now - status.heartbeat <= timeout}

    def _plan(
        self,
        gpu: GpuReading,
        devices: Devices,
        status: GpuStatus | None,
        sizes: dict[str, int],
        wanted_before: int | None,
    ) -> _Plan:
        node = str(names.GpuName(self._settings.host, gpu.index).node())
        count = slots_of(gpu, devices, status, self._settings, self._policy)
        if count is None:
            wanted, reason = None, str(problem_of(gpu, devices, status))
        else:
            wanted, reason = count.slots, count.reason
        live = sizes.get(node)
        change = decide(wanted, live, wanted_before)
        return _Plan(gpu=self._id(gpu), node=node, wanted=wanted, live=live, change=change, reason=reason)

    def _wanted_before(self, gpus: Sequence[GpuReading], now: float) -> list[int | None]:
        """Return the slots that the last tick wanted for each GPU; None if it is too old or could not read the GPU."""
        remembered = self._redis.mget([keys.slot_decision(self._id(gpu)) for gpu in gpus])
        oldest = now - 3 * self._settings.autoscale_interval
        return [_wanted_since(oldest, written) for written in cast("list[bytes | None]", remembered)]

    def _publish(self, decisions: Sequence[SlotDecision]) -> None:
        """Store the decisions for the next tick, count and log them, and send them to front ends and Celery."""
        lifetime = max(1, int(12 * self._settings.autoscale_interval))
        pipeline = self._redis.pipeline()
        for decision in decisions:
            text = decision.to_json()
            pipeline.set(keys.slot_decision(decision.gpu), text, ex=lifetime)
            pipeline.publish(keys.SLOT_CHANNEL, text)
            pipeline.hincrby(keys.SLOT_COUNTS, DecisionLabels.of(decision).field, 1)
            level = logging.DEBUG if decision.action == "hold" else logging.INFO
            _log.log(level, "slots %s", text)
        pipeline.execute()
        me = names.scheduler_node(self._settings.host)
        with self._app.events.default_dispatcher(hostname=me) as events:
            for decision in decisions:
                events.send(f"slots-{decision.action}", **decision.model_dump())

    def _id(self, gpu: GpuReading) -> str:
        return str(names.GpuName(self._settings.host, gpu.index))


def _basis_of(settings: Settings) -> tuple[str, SlotLimits]:
    """Return the settings of which a policy keeps values."""
    return settings.slot_policy, SlotLimits.of(settings)


def _wanted_since(oldest: float, written: bytes | None) -> int | None:
    """Return the slots that a stored decision wanted; None if it was made before `oldest`."""
    if written is None:
        return None
    try:
        decision = SlotDecision.from_json(written)
    except ValidationError:  # written by another version
        return None
    return decision.wanted if decision.at >= oldest else None
