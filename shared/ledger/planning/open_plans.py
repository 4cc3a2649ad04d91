"""Plans that are open: intake decodes a file and adds each segment to its job's plan as soon as it is cut.

Called by intake, and by whatever starts a parked job again. Each step is one script, and only the process that has the
claim on the job (`Ledger.begin`) may take it, so a process that was slow, or taken for dead, changes nothing. Errors of
Redis pass through; a call that may have been lost is repeated with the same arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from whisper_fleet.shared.ledger.ledger import STEP_GRACE
from whisper_fleet.shared.ledger.records import warnings_json
from whisper_fleet.shared.ledger.scripts import run, text
from whisper_fleet.shared.wire import JobWarning, SegmentPlan


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The result of closing a plan."""

    complete: bool  # all segments are done already, so that `assemble` must be published


class OpenPlans:
    """The open plans of one ledger, as one process of intake changes them. Moments are Unix seconds."""

    def __init__(self, redis: Redis, process: str) -> None:
        self._redis = redis
        self._process = process

    def extend(self, job: str, segments: Sequence[SegmentPlan], until: float, now: float) -> int | None:
        """Let more segments of a job wait for GPUs, and renew the claim.

        Return how many of the job's segments are not done; None if the job ended, or another process has it.
        """
        first, plans = segments[0].index, [segment.to_json() for segment in segments]
        known, *unfinished = run(self._redis, "extend", job, self._process, now, until, first, *plans)
        return int(unfinished[0]) if known == 1 else None

    def close(
        self,
        job: str,
        first: int,
        segments: Sequence[SegmentPlan],
        now: float,
        *,
        duration: float,
        warnings: tuple[JobWarning, ...] = (),
    ) -> Closed | None:
        """Add the last segments, of which the first has the number `first`, and set what is known of the whole file.

        Return None if the job ended, or another process has it.
        """
        plans = [segment.to_json() for segment in segments]
        facts = (now, now + STEP_GRACE, duration, warnings_json(warnings), first)
        known, *complete = run(self._redis, "close", job, self._process, *facts, *plans)
        return Closed(complete=bool(complete[0])) if known == 1 else None

    def park(self, job: str) -> bool:
        """Give up the claim, and let the plan wait until `resume` chooses it; return False as above."""
        return bool(run(self._redis, "park", job, self._process))

    def resume(self, most: int, unfinished: int, now: float, passed_over: Collection[str] = ()) -> list[str]:
        """Choose up to `most` parked jobs with at most `unfinished` segments that are not done, for decoders.

        The most urgent priority first, within it tenants in turn, then the oldest; none of the tenants `passed_over`.
        A `transcribe` must be sent for each; recovery sends those that are lost.
        """
        jobs = run(self._redis, "resume", now, now + STEP_GRACE, most, unfinished, *passed_over)
        return [text(job) for job in cast("list[bytes]", jobs)]
