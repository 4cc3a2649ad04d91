"""The ledger: the authoritative state of jobs and segments in Redis. Every transition is one idempotent script."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

from redis import Redis

from whisper_fleet.shared.broker.fleet_clock import FleetClock
from whisper_fleet.shared.errors import (
    AssemblyFailed,
    JobCancelled,
    JobNotFound,
    PlanningFailed,
    SegmentFailed,
    StaleAttempt,
)
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.continuation import Continuation, fields_of_entry
from whisper_fleet.shared.ledger.records import (
    Finish,
    GivenBack,
    JobRecord,
    depth_from,
    job_record,
    lane_from,
    lane_of,
    progress_from,
    warnings_json,
)
from whisper_fleet.shared.ledger.scripts import in_order, run, text
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import (
    Assignment,
    JobPlan,
    JobProgress,
    JobState,
    Lane,
    SegmentMessage,
    SegmentPlan,
    SegmentResult,
    SegmentWork,
    TranscribeRequest,
)

#: Seconds until recovery checks whether the message for a job's next step was lost.
STEP_GRACE = 10.0
#: Seconds for which a settled job's plan and results are kept, for an `assemble` that is delivered twice.
KEEP_RESULTS = 3600.0
#: Seconds between two updates of a job's progress, however many slots work on it.
SHOW_INTERVAL = 0.5

#: What the script `begin` returns when too many processes died with a job, and the error by the job's state.
_CLAIMS_LOST = -2
_FAILED_STEPS = {JobState.ACCEPTED: PlanningFailed, JobState.ASSEMBLING: AssemblyFailed}


class Ledger:
    """Jobs and segments in Redis. Errors of Redis pass through.

    Moments (`now`, `deadline`, `until`) are Unix seconds, lengths are seconds. A call that may have been lost is
    repeated with the same `now`. A call about a job that is not known, or no longer, raises JobNotFound.
    """

    def __init__(self, redis: Redis, limits: Settings) -> None:
        self._redis = redis
        self._limits = limits  # max_attempts and job_retention, which a reload may change
        self.now = FleetClock(redis).now  # what every transition takes as `now`: a host's own clock may be wrong

    # --- intake ---

    def accept(
        self,
        job: str,
        request: TranscribeRequest,
        now: float,
        *,
        continuation: Continuation | None = None,
        not_before: float | None = None,
        expires: float | None = None,
        trace: str | None = None,
    ) -> bool:
        """Enter a job; return False if it is already known.

        It is planned no sooner than `not_before`, and cancelled if no segment has started by `expires`. A known job
        that has no continuation yet gets this one.
        """
        due = max(now, not_before or now) + STEP_GRACE
        fields = fields_of_entry(continuation, not_before, expires, trace)
        return bool(run(self._redis, "accept", job, request.to_json(), now, due, *fields))

    def begin(self, job: str, step: JobState, process: str, until: float, now: float) -> bool:
        """Claim a job for planning or assembly, or renew the claim.

        Return False if the job is not at this step, or another process has a valid claim. Raises PlanningFailed or
        AssemblyFailed if as many processes died with the job as a segment has attempts.
        """
        answer = run(self._redis, "begin", job, step, process, now, until, most := self._limits.max_attempts)
        if answer == _CLAIMS_LOST:
            raise _FAILED_STEPS[step](job=job, processes=most)
        return self._known(job, answer)

    def plan(
        self, job: str, plan: JobPlan, now: float, request: TranscribeRequest | None = None, *, holds: bool = False
    ) -> bool:
        """Let a job's segments wait for GPUs; return False if it ended or was already planned.

        `request` replaces the client's, which is checked less than intake's. `holds` makes all segments but the first
        wait until that one has found the job's language.
        """
        record = self.job(job)
        request = request or record.request
        lane, queued_as = lane_of(request, plan.dims), f"{record.accepted:017.6f}:{job}"
        segments = [segment.to_json() for segment in plan.segments]
        place = (lane.priority, lane.tenant, lane.lane, queued_as, lane.to_json())
        fields = (plan.duration, request.to_json(), int(holds), int(plan.is_open), warnings_json(plan.warnings))
        return self._known(job, run(self._redis, "plan", job, now, *place, *fields, *segments))

    # --- dispatcher ---

    def lanes(self, heads: int) -> list[Lane]:
        """Return every lane with its first `heads` waiting jobs and their first waiting segments."""
        return [lane_from(*lane) for lane in run(self._redis, "lanes", heads)]

    def assign(self, assignments: Sequence[Assignment], deadline: float, now: float) -> list[bool]:
        """Assign waiting segments, to be started by `deadline`; return for each whether it was.

        A segment that no longer waits and a GPU that is full are refused.
        """
        answers: list[bool] = []
        for job, group in groupby(assignments, key=lambda assignment: assignment.job):
            flat = [value for item in group for value in (item.segment, item.gpu, item.token, item.slots)]
            answers += map(bool, run(self._redis, "assign", job, now, deadline, *flat))
        return answers

    # --- slots ---

    def start(self, message: SegmentMessage, gpu: str, lease: float, now: float) -> SegmentWork:
        """Start a segment, which must report progress every `lease` seconds; raises StaleAttempt or JobCancelled."""
        request_json, plan_json, attempt, *texts = self._step("start", message, gpu, now, now + lease)
        request, plan = TranscribeRequest.from_json(request_json), SegmentPlan.from_json(plan_json)
        known = dict(zip(("language", "trace", "waits_since"), (text(one) or None for one in texts), strict=True))
        return SegmentWork.model_validate({"request": request, "plan": plan, "attempt": int(attempt), **known})

    def set_language(self, message: SegmentMessage, language: str, probability: float, now: float) -> str:
        """Store the language that a segment detected, and return the job's: the first one stored counts.

        Segments that were held for it wait for GPUs from now on. Raises StaleAttempt or JobCancelled.
        """
        return text(self._step("language", message, language, probability, now)[0])

    def progress(
        self, message: SegmentMessage, seconds_done: float, lease: float, now: float, *, text: str | None = None
    ) -> JobProgress | None:
        """Renew the lease, store new text; return progress if it is time to. Raises StaleAttempt or JobCancelled."""
        changed = [] if text is None else [text]
        show, fields = self._step("progress", message, seconds_done, now, now + lease, SHOW_INTERVAL, *changed)
        return progress_from(fields, now) if show else None

    def finish(self, message: SegmentMessage, result: SegmentResult, now: float) -> Finish:
        """Store a segment's result; the first result counts. Raises StaleAttempt or JobCancelled."""
        arguments = (result.to_json(), now, SHOW_INTERVAL, now + STEP_GRACE, result.text)
        last, show, fields = self._step("finish", message, *arguments)
        return Finish(last=bool(last), progress=progress_from(fields, now) if show else None)

    def return_to_queue(self, message: SegmentMessage, reason: str, now: float) -> GivenBack:
        """Let a segment wait again after a failed attempt; if that was the last one allowed, fail its job."""
        return GivenBack(job_failed=self._release(message, reason, now, counts=True) == "failed")

    def reassign(self, message: SegmentMessage, now: float, reason: str = "its node went down") -> None:
        """Let a segment wait again that did not cause the end of its attempt, which therefore does not count."""
        self._release(message, reason, now, counts=False)

    # --- ends ---

    def fail(self, job: str, error_type: str, error: str, now: float) -> bool:
        """Fail a job; return False if it had ended before. See JobActions, which also publishes `assemble`."""
        return self._end(job, JobState.FAILED, now, error_type, error)

    def cancel(self, job: str, now: float) -> bool:
        """Cancel a job; return False if it is too late. See JobActions, which also publishes `assemble`."""
        return self._end(job, JobState.CANCELLED, now, JobCancelled.__name__, str(JobCancelled(job=job)))

    def settle(self, job: str, now: float, webhook: Sequence[str | float] = ()) -> JobState | None:
        """Record that the client has its answer: an assembled job is done, and the job expires after `retention`.

        Return the job's state if this call settled it. `webhook` is added with it: see webhooks.deliveries.job_webhook.
        """
        keep = int(min(KEEP_RESULTS, self._limits.job_retention))
        state = run(self._redis, "settle", job, now, int(self._limits.job_retention), keep, *webhook)
        return JobState(text(state)) if state else None

    # --- recovery ---

    def active_gpus(self) -> set[str]:
        """Return the GPUs that have assigned or running segments, or had them recently."""
        return {text(gpu) for gpu in self._redis.smembers(keys.ACTIVE_GPUS)}

    def overdue(self, gpu: str, now: float) -> list[tuple[SegmentMessage, bool]]:
        """Return the segments that a GPU should have started, or reported progress of, by `now` (infinity: all it has).

        Beside each is whether it was running.
        """
        return [
            (SegmentMessage(job=text(job), segment=int(segment), token=text(token)), text(state) == "running")
            for segment, job, token, state in run(self._redis, "overdue", gpu, now)
        ]

    def due(self, now: float, again: float, most: int = 100) -> list[tuple[str, JobState, bool]]:
        """Return the jobs whose next step is overdue, with their states; they are due again at `again`.

        Beside each is whether an intake process had claimed it. That claim has expired.
        """
        found = run(self._redis, "due", now, again, most)
        return [(text(job), JobState(text(state)), bool(begun)) for job, state, begun in found]

    def release_undetected(self, now: float) -> list[str]:
        """Release the held segments of jobs whose first segment ended and reported no language; return the jobs."""
        return [text(job) for job in run(self._redis, "undetected", now)]

    # --- readers ---

    def job(self, job: str) -> JobRecord:
        """Return a job's record."""
        fields = self._redis.hgetall(keys.job(job))
        if not fields:
            raise self.not_found(job)
        return job_record(job, {text(name): text(value) for name, value in fields.items()})

    def continuation(self, job: str) -> Continuation | None:
        """Return what follows a job for the client that sent it with Celery, if anything does."""
        stored = cast("bytes | None", self._redis.hget(keys.job(job), "continuation"))
        return Continuation.from_json(text(stored)) if stored is not None else None

    def jobs(self, first: int = 0, last: int = -1) -> list[str]:
        """Return the ids of the jobs from the `first` to the `last`, newest first; 0 is the newest, -1 the oldest."""
        return [text(job) for job in cast("list[bytes]", self._redis.zrevrange(keys.JOBS, first, last))]

    def plans(self, job: str) -> list[SegmentPlan]:
        """Return a job's segments as intake cut them, in order."""
        return [SegmentPlan.from_json(plan) for plan in in_order(self._redis, keys.plan(job))]

    def results(self, job: str) -> list[SegmentResult]:
        """Return the results of a job's finished segments, in order."""
        return [SegmentResult.from_json(result) for result in in_order(self._redis, keys.results(job))]

    def loads(self, gpus: Sequence[str]) -> list[int]:
        """Return how many segments are assigned to, or run on, each of these GPUs."""
        return [int(count) for count in text(run(self._redis, "loads", " ".join(gpus))).split()]

    def why_waits(self, lane: str) -> str | None:
        """Return the reason, if the dispatcher recently stored one, why no GPU takes segments of a lane."""
        reason = cast("bytes | None", self._redis.get(keys.lane_wait(lane)))
        return None if reason is None else text(reason)

    def depth(self) -> dict[int, tuple[int, int]]:
        """Return by priority how many jobs wait for a GPU, and how many of their segments."""
        return depth_from(run(self._redis, "depth"))

    def counts(self) -> dict[str, float]:
        """Return the counters of the fleet since its beginning, by the names in `keys.COUNTS`."""
        counts = cast("dict[bytes, bytes]", self._redis.hgetall(keys.COUNTS))
        return {text(name): float(count) for name, count in counts.items()}

    # --- inside ---

    def _step(self, name: str, message: SegmentMessage, *arguments: str | float) -> list[Any]:
        """Run a script for a slot and return its answer, or raise its refusal."""
        word, *answer = run(self._redis, name, message.job, message.segment, message.token, *arguments)
        match text(word):
            case "unknown":
                raise self.not_found(message.job)
            case "over":
                raise JobCancelled(job=message.job)
            case "stale":
                raise StaleAttempt(job=message.job, segment=message.segment)
        return [text(word), *answer] if name == "release" else answer

    def _release(self, message: SegmentMessage, reason: str, now: float, *, counts: bool) -> str:
        segment, job, most = message.segment, message.job, self._limits.max_attempts
        error = SegmentFailed(segment=segment, job=job, attempts=most, reason=reason)
        ends = (now + STEP_GRACE, type(error).__name__, str(error))
        return str(self._step("release", message, now, int(counts), most, reason, *ends)[0])

    def _end(self, job: str, state: JobState, now: float, error_type: str, error: str) -> bool:
        return self._known(job, run(self._redis, "end", job, state, now, now + STEP_GRACE, error_type, error))

    def _known(self, job: str, answer: int) -> bool:
        if answer < 0:
            raise self.not_found(job)
        return bool(answer)

    def not_found(self, job: str) -> JobNotFound:
        """Return the error for a job that is not known, or no longer."""
        return JobNotFound(job=job, days=self._limits.job_retention / 86400)
