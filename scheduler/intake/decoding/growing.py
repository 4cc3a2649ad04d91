"""The plan of one job as its file is decoded: complete at once, or opened, extended and closed."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_fleet.scheduler.intake.claims import CLAIM_SECONDS
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.ledger.planning.open_plans import OpenPlans
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.shared.wire import JobPlan, JobWarning, SegmentPlan, TranscribeRequest


class GrowingPlan:
    """Enters the segments of one job in the ledger. Every step fails, and changes nothing, once the job is not ours.

    `dims` are those of the model; None for a plan that an earlier process opened, whose segments are `known`.
    """

    def __init__(
        self,
        services: Services,
        job: str,
        request: TranscribeRequest,
        dims: ModelDims | None,
        known: Sequence[SegmentPlan] = (),
    ) -> None:
        self._ledger, self._actions = services.ledger, services.actions
        self._open_plans = OpenPlans(services.redis, services.name)
        self._job, self._request, self._dims = job, request, dims
        self.is_open = bool(known)

    def add(self, segment: SegmentPlan) -> int | None:
        """Let a segment wait for a GPU that is not the last; return how many are not done, None if it is not ours."""
        now = self._ledger.now()
        if self.is_open:
            return self._open_plans.extend(self._job, [segment], now + CLAIM_SECONDS, now)
        plan = JobPlan(duration=segment.end, segments=(segment,), dims=self._dims, is_open=True)
        # An English-only model detects nothing, so its segments must not wait for a language.
        holds = self._request.language_is_detected and self._dims is not None and self._dims.is_multilingual
        self.is_open = self._ledger.plan(self._job, plan, now, self._request, holds=holds)
        return 1 if self.is_open else None

    def close(self, last: Sequence[SegmentPlan], first: int, seconds: float, warnings: tuple[JobWarning, ...]) -> bool:
        """Enter the last segments and what is known of the whole file; False if the job is not ours."""
        now = self._ledger.now()
        if not self.is_open:
            plan = JobPlan(duration=seconds, segments=tuple(last), dims=self._dims, warnings=warnings)
            return self._ledger.plan(self._job, plan, now, self._request)
        closed = self._open_plans.close(self._job, first, last, now, duration=seconds, warnings=warnings)
        if closed is not None and closed.complete:
            self._actions.publish_assemble(self._job)
        return closed is not None
