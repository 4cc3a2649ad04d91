"""The ledger: the truth about jobs and segments. Every transition is one script and may be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Self, cast

from redis import Redis

from whisper_fleet.shared.errors import (
    AssemblyFailed,
    JobCancelled,
    JobNotFound,
    PlanningFailed,
    SegmentFailed,
    StaleAttempt,
)
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.records import (
    Finish,
    GivenBack,
    JobRecord,
    LaneNeeds,
    job_record,
    lane_of,
    progress_from,
)
from whisper_fleet.shared.ledger.scripts import run, text
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
    WaitingJob,
)

#: Seconds until recovery looks whether the message for a job's next step was lost.
STEP_GRACE = 10.0
#: Seconds that a settled job's plan and results stay, for an `assemble` that is delivered twice.
KEEP_RESULTS = 3600.0
#: A client sees progress at most this often, in seconds, however many slots work for its job.
SHOW_INTERVAL = 0.5

#: What the script `begin` answers when too many processes died with a job, and what that is called by its state.
_CLAIMS_LOST = -2
_FAILED_STEPS = {JobState.ACCEPTED: PlanningFailed, JobState.ASSEMBLING: AssemblyFailed}


class Ledger:
    """Jobs and segments in Redis, whose errors pass through as they are."""

    @classmethod
    def from_settings(cls, redis: Redis, settings: Settings) -> Self:
        """Return the ledger in this Redis, with the limits of these settings."""
        return cls(redis, max_attempts=settings.max_attempts, retention=settings.job_retention)

    def __init__(self, redis: Redis, *, max_attempts: int, retention: float) -> None:
        self._redis = redis
        self._max_attempts = max_attempts
        self._retention = retention

    # --- intake ---

    def accept(self, job: str, request: TranscribeRequest, now: float) -> bool:
        """Enter a job; False when it is known already."""
        return bool(run(self._redis, "accept", job, request.to_json(), now, now + STEP_GRACE))

    def begin(self, job: str, step: JobState, process: str, until: float, now: float) -> bool:
        """Claim a job for planning or assembly, or renew: False when it is not at this step, or another's.

        Raises PlanningFailed or AssemblyFailed when as many processes were lost with it as a segment has attempts.
        """
        answer = run(self._redis, "begin", job, step, process, now, until, self._max_attempts)
        if answer == _CLAIMS_LOST:
            raise _FAILED_STEPS[step](job=job, processes=self._max_attempts)
        return self._known(job, answer)

    def plan(self, job: str, plan: JobPlan, now: float, request: TranscribeRequest | None = None) -> bool:
        """Let a job's segments wait for GPUs; False when it ended or was planned already.

        `request` replaces what its client entered, who knows less about languages than intake.
        """
        record = self.job(job)
        request = request or record.request
        lane = lane_of(request)
        queued_as = f"{record.accepted:017.6f}:{job}"
        segments = [segment.to_json() for segment in plan.segments]
        waits = (lane.priority, lane.tenant, lane.lane, queued_as, lane.to_json())
        cut = (plan.duration, request.to_json())
        return self._known(job, run(self._redis, "plan", job, now, *waits, *cut, *segments))

    # --- dispatcher ---

    def lanes(self, heads: int) -> list[Lane]:
        """What waits: the first `heads` jobs of every lane and their first waiting segments."""
        return [_lane(*lane) for lane in run(self._redis, "lanes", heads)]

    def assign(self, assignments: Sequence[Assignment], deadline: float, now: float) -> list[bool]:
        """Give waiting segments to GPUs, to be started by `deadline`; False: taken, or the GPU is full."""
        answers: list[bool] = []
        for job, group in groupby(assignments, key=lambda assignment: assignment.job):
            each = [(one.segment, one.gpu, one.token, one.slots) for one in group]
            flat = [value for values in each for value in values]
            answers += map(bool, run(self._redis, "assign", job, now, deadline, *flat))
        return answers

    # --- slots ---

    def start(self, message: SegmentMessage, gpu: str, lease: float, now: float) -> SegmentWork:
        """The segment runs, showing progress every `lease` seconds; raises StaleAttempt, JobCancelled."""
        asked, cut, attempt = self._step("start", message, gpu, now, now + lease)
        request, plan = TranscribeRequest.from_json(asked), SegmentPlan.from_json(cut)
        return SegmentWork(request=request, plan=plan, attempt=int(attempt))

    def progress(self, message: SegmentMessage, seconds_done: float, lease: float, now: float) -> JobProgress | None:
        """Renew the lease; what to show the client, if it is time to; raises StaleAttempt, JobCancelled."""
        show, fields = self._step("progress", message, seconds_done, now, now + lease, SHOW_INTERVAL)
        return progress_from(fields, now) if show else None

    def finish(self, message: SegmentMessage, result: SegmentResult, now: float) -> Finish:
        """Keep a segment's result: the first one counts. Raises StaleAttempt, JobCancelled."""
        arguments = (result.to_json(), now, SHOW_INTERVAL, now + STEP_GRACE)
        last, show, fields = self._step("finish", message, *arguments)
        return Finish(last=bool(last), progress=progress_from(fields, now) if show else None)

    def return_to_queue(self, message: SegmentMessage, reason: str, now: float) -> GivenBack:
        """A failed attempt: the segment waits again, or it was the last attempt and the job fails."""
        return GivenBack(job_failed=self._release(message, reason, now, counts=True) == "failed")

    def reassign(self, message: SegmentMessage, now: float, reason: str = "its node went down") -> None:
        """The segment waits again, through no fault of its own: the attempt does not count."""
        self._release(message, reason, now, counts=False)

    # --- ends ---

    def fail(self, job: str, error_type: str, error: str, now: float) -> bool:
        """Fail a job; return False if it had ended before. See JobActions, which also publishes `assemble`."""
        return self._end(job, JobState.FAILED, now, error_type, error)

    def cancel(self, job: str, now: float) -> bool:
        """Cancel a job; return False if it had ended before. See JobActions, which also publishes `assemble`."""
        return self._end(job, JobState.CANCELLED, now, JobCancelled.__name__, str(JobCancelled(job=job)))

    def settle(self, job: str, now: float) -> JobState | None:
        """The client has its answer: an assembled job is done, and an ended one may be forgotten in time.

        The job's state, if this call settled it.
        """
        keep = int(min(KEEP_RESULTS, self._retention))
        state = run(self._redis, "settle", job, now, int(self._retention), keep)
        return JobState(text(state)) if state else None

    # --- recovery ---

    def active_gpus(self) -> set[str]:
        """The GPUs that hold assigned or running segments, or did not long ago."""
        return {text(gpu) for gpu in self._redis.smembers(keys.ACTIVE_GPUS)}

    def overdue(self, gpu: str, now: float) -> list[tuple[SegmentMessage, bool]]:
        """What a GPU should have started, or shown progress of, by `now` (infinity: all it has).

        True beside a segment: it was running.
        """
        return [
            (SegmentMessage(job=text(job), segment=int(segment), token=text(token)), text(state) == "running")
            for segment, job, token, state in run(self._redis, "overdue", gpu, now)
        ]

    def due(self, now: float, again: float, most: int = 100) -> list[tuple[str, JobState, bool]]:
        """Jobs whose next step should have come by now; they are due again at `again`.

        True beside a state: a process of intake had the job, whose claim has run out.
        """
        found = run(self._redis, "due", now, again, most)
        return [(text(job), JobState(text(state)), bool(begun)) for job, state, begun in found]

    # --- readers ---

    def job(self, job: str) -> JobRecord:
        """A job's record."""
        fields = self._redis.hgetall(keys.job(job))
        if not fields:
            raise self.not_found(job)
        return job_record(job, {text(name): text(value) for name, value in fields.items()})

    def jobs(self, first: int = 0, last: int = -1) -> list[str]:
        """Ids of the jobs from the `first` to the `last` newest."""
        return [text(job) for job in cast("list[bytes]", self._redis.zrevrange(keys.JOBS, first, last))]

    def plans(self, job: str) -> list[SegmentPlan]:
        """A job's segments as intake cut them, in order."""
        return [SegmentPlan.from_json(plan) for plan in self._in_order(keys.plan(job))]

    def results(self, job: str) -> list[SegmentResult]:
        """The results of a job's finished segments, in order."""
        return [SegmentResult.from_json(result) for result in self._in_order(keys.results(job))]

    def loads(self, gpus: Sequence[str]) -> list[int]:
        """How many segments are assigned to, or run on, each of these GPUs."""
        return [int(count) for count in text(run(self._redis, "loads", " ".join(gpus))).split()]

    def why_waits(self, lane: str) -> str | None:
        """What the dispatcher said of late of a lane from which no GPU takes anything."""
        said = cast("bytes | None", self._redis.get(keys.lane_wait(lane)))
        return None if said is None else text(said)

    def depth(self) -> dict[int, tuple[int, int]]:
        """By priority: how many jobs wait for a GPU, and how many segments they wait with."""
        depth: dict[int, tuple[int, int]] = {}
        for priority, jobs, segments in run(self._redis, "depth"):
            known = depth.get(priority, (0, 0))
            depth[priority] = (known[0] + jobs, known[1] + segments)
        return depth

    def counts(self) -> dict[str, float]:
        """What the fleet ever did, by the names in `keys.COUNTS`."""
        counts = cast("dict[bytes, bytes]", self._redis.hgetall(keys.COUNTS))
        return {text(name): float(count) for name, count in counts.items()}

    # --- inside ---

    def _step(self, name: str, message: SegmentMessage, *arguments: str | float) -> list[Any]:
        """What a script answers to a slot; raises the refusal."""
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
        most = self._max_attempts
        error = SegmentFailed(segment=message.segment, job=message.job, attempts=most, reason=reason)
        ends = (now + STEP_GRACE, type(error).__name__, str(error))
        return str(self._step("release", message, now, int(counts), most, reason, *ends)[0])

    def _end(self, job: str, state: JobState, now: float, error_type: str, error: str) -> bool:
        return self._known(job, run(self._redis, "end", job, state, now, now + STEP_GRACE, error_type, error))

    def _known(self, job: str, answer: int) -> bool:
        if answer < 0:
            raise self.not_found(job)
        return bool(answer)

    def _in_order(self, key: str) -> list[bytes]:
        fields = cast("dict[bytes, bytes]", self._redis.hgetall(key))
        return [value for _, value in sorted(fields.items(), key=lambda field: int(field[0]))]

    def not_found(self, job: str) -> JobNotFound:
        """The error for a job that is unknown here, or not any more."""
        return JobNotFound(job=job, days=self._retention / 86400)


def _lane(lane: bytes, since: bytes, needs: bytes, tenant_served: bytes, jobs: list[Any]) -> Lane:
    known = LaneNeeds.from_json(needs)
    return Lane(
        id=text(lane),
        priority=known.priority,
        tenant=known.tenant,
        need=known.need,
        since=float(since),
        tenant_served=float(tenant_served),
        jobs=tuple(_waiting(*job) for job in jobs),
    )


def _waiting(queued_as: bytes, served: bytes, seconds: bytes, segments: list[bytes]) -> WaitingJob:
    accepted, _, job = text(queued_as).partition(":")
    return WaitingJob(
        job=job,
        accepted=float(accepted),
        served=float(served),
        seconds=float(seconds),
        segments=tuple(int(segment) for segment in segments),
    )
