"""The state of the fleet at one moment, read from Redis: its GPUs, its backlog, and its totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import ValidationError
from redis import Redis

from whisper_fleet.scheduler.capacity.decisions import DecisionLabels
from whisper_fleet.scheduler.intake.node.reports import intake_nodes
from whisper_fleet.scheduler.upkeep.acceptance import read_stall
from whisper_fleet.shared import names
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.http.usage import Usage, usage_from
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.ledger.scripts import run, text
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.webhooks.deliveries import Deliveries
from whisper_fleet.shared.wire import GpuStatus, SlotDecision

#: Tenants that the metrics name.
_MOST_TENANTS = 20


@dataclass(frozen=True, kw_only=True)
class GpuSnapshot:
    """A GPU of the registry."""

    status: GpuStatus
    is_up: bool  # its node sends heartbeats and its engine answers
    taken: int  # slots that run a segment or have one assigned, as counted by the ledger
    wanted: int | None  # slots by the autoscaler's last decision; None if there is none or it could not read the GPU


@dataclass(frozen=True, kw_only=True)
class FleetSnapshot:
    """What the fleet's metrics are made of."""

    gpus: tuple[GpuSnapshot, ...]
    depth: dict[int, tuple[int, int]]  # priority -> waiting jobs, waiting segments
    messages: dict[str, int]  # queue -> messages that wait for intake
    intake_processes: int  # of the intake nodes that are up
    stalled: float  # seconds for which requests wait and none was accepted
    counts: dict[str, float]  # see keys.COUNTS
    decisions: dict[DecisionLabels, int]  # what the autoscaler decided, and how often
    tenants: dict[str, int] = field(default_factory=dict)  # tenant -> jobs that wait, for those with most
    speeds: dict[str, float] = field(default_factory=dict)  # GPU -> seconds of audio per second with enough to do
    backlog: float = 0.0  # seconds of audio in segments that wait for a GPU
    webhooks: dict[str, int] = field(default_factory=dict)  # state -> webhooks that wait or are undeliverable
    usage: tuple[Usage, ...] = ()  # of API keys, since the fleet's beginning


class SnapshotReader:
    """Reads snapshots of the fleet; raises Redis errors as they are."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = settings
        self._fleet = GpuRegistry(redis)
        self._ledger = Ledger(redis, settings)

    def read(self, now: float | None = None) -> FleetSnapshot:
        """Return a snapshot at `now` (None: now); it takes half a dozen round trips whatever the size of the fleet."""
        now = self._ledger.now() if now is None else now
        return FleetSnapshot(
            gpus=tuple(self._gpus(now)),
            depth=self._ledger.depth(),
            messages={
                queue: queue_length(self._redis, queue)
                for queue in (names.TRANSCRIBE_QUEUE, names.RESUMED_QUEUE, names.ASSEMBLE_QUEUE)
            },
            intake_processes=sum(node.processes for node in intake_nodes(self._redis, now)),
            stalled=_seconds_stalled(self._redis, now),
            counts=self._ledger.counts(),
            decisions=self._decisions(),
            tenants=self._waiting_tenants(),
            speeds=self._speeds(),
            backlog=self._backlog(),
            webhooks=Deliveries(self._redis).counts(),
            usage=tuple(usage_from("", cast("dict[bytes, bytes]", self._redis.hgetall(http_keys.USAGE_TOTAL)))),
        )

    def _backlog(self) -> float:
        """Return the seconds of audio in segments that wait for a GPU."""
        lanes, _ = run(self._redis, "backlog")
        return sum(float(seconds) for _, seconds in lanes)

    def _speeds(self) -> dict[str, float]:
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(keys.SPEEDS))
        return {text(gpu): float(speed) for gpu, speed in stored.items()}

    def _waiting_tenants(self) -> dict[str, int]:
        """Return how many jobs wait per tenant: anyone may name tenants, so only those with most are shown."""
        waiting: Counter[str] = Counter()
        for name, count in cast("dict[bytes, bytes]", self._redis.hgetall(keys.CLOCK)).items():
            kind, _, rest = text(name).partition("/")
            if kind == "waiting":
                waiting[rest.partition("/")[2]] += int(count)
        return dict(waiting.most_common(_MOST_TENANTS))

    def _gpus(self, now: float) -> list[GpuSnapshot]:
        statuses = self._fleet.all()
        ids = [status.id for status in statuses]
        return [
            GpuSnapshot(
                status=status,
                is_up=status.ready and now - status.heartbeat <= self._settings.heartbeat_timeout,
                taken=taken,
                wanted=wanted,
            )
            for status, taken, wanted in zip(statuses, self._ledger.loads(ids), self._wanted(ids), strict=True)
        ]

    def _wanted(self, gpus: Sequence[str]) -> list[int | None]:
        if not gpus:
            return []
        decisions = cast("list[bytes | None]", self._redis.mget([keys.slot_decision(gpu) for gpu in gpus]))
        return [_wanted(decision) for decision in decisions]

    def _decisions(self) -> dict[DecisionLabels, int]:
        counts = cast("dict[bytes, bytes]", self._redis.hgetall(keys.SLOT_COUNTS))
        labelled = ((DecisionLabels.parse(text(field)), int(count)) for field, count in counts.items())
        return {labels: count for labels, count in labelled if labels is not None}


def _seconds_stalled(redis: Redis, now: float) -> float:
    stall = read_stall(redis)
    return 0.0 if stall is None else max(now - stall.since, 0.0)


def _wanted(decision: bytes | None) -> int | None:
    if decision is None:
        return None
    try:
        return SlotDecision.from_json(decision).wanted
    except ValidationError:  # written by another version
        return None
