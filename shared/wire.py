"""The types that processes exchange: frozen, keyword-only, with a comment per field.

Moments are Unix seconds, lengths are seconds, sizes are bytes. `to_json` and `from_json` are the only serialisation.
A constructor refuses unknown fields; `from_json` ignores them, because a process of a newer version may have written
them.
"""

from __future__ import annotations

import operator
from enum import StrEnum

from pydantic import Field

from whisper_fleet.shared.models import Form, ModelDims, Precision
from whisper_fleet.shared.names import GpuName
from whisper_fleet.shared.request.options import TranscribeRequest as TranscribeRequest
from whisper_fleet.shared.serialization import Wire as Wire
from whisper_fleet.shared.transcript import Segment


class JobState(StrEnum):
    """The state of a job: accepted, running, assembling, done; it may become failed or cancelled before done."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    ASSEMBLING = "assembling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class SegmentPlan(Wire):
    """One segment as intake cut it."""

    index: int  # 0 is the first of the job
    start: float  # seconds from the beginning of the file
    end: float
    spool: str | None = None  # raw s16le 16 kHz mono of just this segment, if it was spooled


class WarningKind(StrEnum):
    """The kinds of warnings of this version."""

    LATE = "late"  # the sound starts after the beginning of the file
    GAP = "gap"  # the sound has a hole
    TRUNCATED = "truncated"  # the file is shorter than it declares
    DAMAGED = "damaged"  # a part could not be decoded
    SILENT_TRACK = "silent_track"  # another track has sound
    CANCELLED = "cancelled"  # the channels cancel each other in the mono mix


class JobWarning(Wire):
    """Something that a client has to know although its job succeeds."""

    kind: str  # a WarningKind, or one of a newer version
    message: str  # what is wrong, and what to do
    at: float | None = None  # seconds in the transcript's time; None: everywhere, or unknown


class JobPlan(Wire):
    """How intake divided a job's file."""

    duration: float  # seconds of decoded audio
    segments: tuple[SegmentPlan, ...]  # at least one; in order, without gaps
    is_open: bool = False  # the file is still being decoded, and more segments follow
    dims: ModelDims | None = None  # of the job's model
    warnings: tuple[JobWarning, ...] = ()


class SegmentMessage(Wire):
    """The arguments of the task `transcribe_segment`; everything else is in the ledger."""

    job: str
    segment: int
    token: str  # of one attempt; a result with an old token is dropped

    def __str__(self) -> str:
        return f"segment {self.segment} of job {self.job}"


class SegmentWork(Wire):
    """What a slot needs to transcribe a segment; the ledger returns it when the segment starts."""

    request: TranscribeRequest
    plan: SegmentPlan
    attempt: int  # 1 is the first
    language: str | None = None  # that was detected for the job; None: it was not, or the request names one
    trace: str | None = None  # the traceparent of the job
    waits_since: float | None = None  # when the job was planned, or else accepted; Unix seconds

    @property
    def finds_language(self) -> bool:
        """Whether this segment decides the language of its job."""
        return self.request.language_is_detected and self.language is None and self.plan.index == 0


class SegmentResult(Wire):
    """What `whisper.transcribe()` returned for one segment; times are relative to the segment's start."""

    text: str
    language: str
    segments: tuple[Segment, ...]
    gpu: str  # id of the GPU that ran it
    decode_seconds: float  # until ffmpeg had delivered the audio
    transcribe_seconds: float  # inside whisper.transcribe()


class JobProgress(Wire):
    """What `AsyncResult(job).info` shows while a job runs."""

    stage: str  # scheduled, queued, planning, transcribing, assembling, and the final states
    seconds_done: float = 0.0  # of audio
    seconds_total: float | None = None
    segments_done: int = 0
    segments_total: int | None = None
    eta: float | None = None  # seconds from now; None while it cannot be estimated
    message: str | None = None  # why the job makes no progress, if it makes none
    warnings: tuple[JobWarning, ...] = Field(default=(), exclude_if=operator.not_)  # those of the result


class Need(Wire):
    """What placement has to know of a segment; segments with equal needs fit the same GPUs."""

    model_name: str
    precision: Precision
    segment_duration: float  # seconds
    rows: int = 1  # of the batch, per slot: beam_size, best_of, or 1
    gpu_ids: tuple[str, ...] = ()
    dims: ModelDims | None = None  # of a checkpoint that was named by its path; None: official, or an older intake


class WaitingJob(Wire):
    """A job with waiting segments, as the dispatcher sees it at the head of a lane."""

    job: str
    accepted: float
    # Fair share: the virtual time, in audio seconds, at which its next segment ends. Jobs of a tenant and priority
    # share one clock, so that jobs of different lanes compare.
    served: float
    seconds: float  # of audio in one of its segments, on average
    segments: tuple[int, ...]  # the first of its waiting segments, in order


class Lane(Wire):
    """Waiting jobs of equal priority, tenant and needs; the least served, then the oldest, first."""

    id: str
    priority: int
    tenant: str
    need: Need
    since: float  # when a segment of this lane was last assigned, or the lane was created
    tenant_served: float  # fair share of the tenant at this priority, as WaitingJob.served
    jobs: tuple[WaitingJob, ...]  # only the first few


class Assignment(Wire):
    """A waiting segment that is assigned to a GPU, with a new token."""

    job: str
    segment: int
    gpu: str
    token: str
    slots: int  # of that GPU; the ledger refuses more segments than slots


class EngineRates(Wire):
    """How fast the engine of a GPU works, and on what; averages over its last ten seconds."""

    windows_per_s: float  # windows of 30 s that were decoded
    times_realtime: float  # seconds of audio per second
    tokens_per_s: float
    share_encode: float  # of the time, 0 to 1: encoding audio
    share_prefill: float  # reading prompts
    share_decode: float  # producing tokens
    share_idle: float
    rows_live: int  # rows of the batch in use now
    rows_waiting: int  # requests that wait for a row now


class DeviceFacts(Wire):
    """A GPU and the engine that owns it, however many node processes serve it."""

    id: str  # <host>.<index>
    host: str
    index: int
    uuid: str  # NVML's, or "cpu" for a host without a GPU
    name: str
    device: str  # "cuda" or "cpu"
    total_bytes: int | None = None  # memory of the GPU, or of the host for a CPU node
    free_bytes: int | None = None
    engine_bytes: int | None = None  # memory that the engine reports as its own
    engine_pid: int | None = None  # in the node's PID namespace; NVML may report another
    models: tuple[str, ...] = ()  # loaded in the engine now, as "name/precision"
    dims: dict[str, ModelDims] | None = None  # of loaded models that are not official, by name; None: not reported
    forms: dict[Precision, Form] = Field(default_factory=dict)  # of cross-attention in the engine; empty: unknown
    rates: EngineRates | None = None  # None: from a node of a version that does not report them

    @property
    def selector(self) -> str:
        """The GPU as a request's `gpu_ids` name it, `<host>:<index>`."""
        return GpuName(self.host, self.index).selector


class ProcessFacts(Wire):
    """A node process that serves a GPU."""

    node: str  # Celery node name
    queue: str
    slots: int  # live pool size
    busy: int  # slots that run a segment
    ready: bool  # the engine answers and knows the pool size, and the node is not shutting down
    started: float  # when the node started
    heartbeat: float  # when this was written


class GpuStatus(DeviceFacts, ProcessFacts):
    """A GPU as its node reports it with every heartbeat; one flat JSON object, which older versions read, too."""


class SlotDecision(Wire):
    """What the autoscaler decided for one GPU, and the outcome; also published to front ends."""

    gpu: str
    node: str
    at: float
    wanted: int | None = None  # slots that memory, cores and settings allow; None: could not be read
    live: int | None = None  # slots of the pool before; None: its node did not answer
    action: str  # grow, shrink or hold
    why: str = ""  # in the few words of whisper_fleet.scheduler.capacity.resizing, to be counted by
    outcome: str  # resized, refused, no answer, wrong size, busy, or none for hold
    reason: str  # in words, for people
