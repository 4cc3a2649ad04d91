"""How a job ended, as Celery's result backend keeps it in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from celery import Celery, states
from pydantic import Field

from whisper_fleet.errors import FleetError, JobRevoked
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.transcript import Transcript
from whisper_fleet.shared.wire import JobState, JobWarning


class JobResult(Transcript):
    """The transcript of a job, and how the fleet made it."""

    duration_s: float | None = None  # of the audio, in seconds
    model: str | None = None
    segment_gpus: tuple[str, ...] = ()  # the GPU that transcribed each of the file's segments
    output_files: tuple[str, ...] = ()  # absolute paths
    output_errors: tuple[str, ...] = ()  # what could not be done with the transcript: files, post-processors
    timings: dict[str, float] = Field(default_factory=dict)  # seconds per step
    warnings: tuple[JobWarning, ...] = ()  # what the client has to know although the job succeeded


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended: with a result, or with the exception that explains why there is none."""

    data: dict[str, Any] | None = None  # the result as the fleet stored it, plain JSON
    exception: Exception | None = None

    @property
    def succeeded(self) -> bool:
        """Whether there is a transcript."""
        return self.data is not None

    @property
    def state(self) -> JobState:
        """The final state: done, failed or cancelled."""
        if self.succeeded:
            return JobState.DONE
        return JobState.CANCELLED if isinstance(self.exception, JobRevoked) else JobState.FAILED

    @property
    def error(self) -> str | None:
        """What went wrong, in one sentence; None for a job that succeeded."""
        if self.exception is None:
            return None
        if isinstance(self.exception, FleetError) and not isinstance(self.exception, JobRevoked):
            return f"{type(self.exception).__name__}: {self.exception}"
        return str(self.exception) or self.state.value

    @property
    def result(self) -> JobResult:
        """The typed result; raises the exception of a job that did not succeed."""
        if self.data is None:
            raise self.exception or FleetError("the job ended without a result")
        return JobResult.model_validate(self.data, extra="ignore")


class ResultFormat:
    """Where Celery's Redis backend keeps a result, and in which form; reads nothing by itself."""

    def __init__(self, redis_url: str) -> None:
        self._app = Celery("whisper_fleet", backend=redis_url, set_as_current=False)

    def key(self, job: str) -> str:
        """Return the key of a job's result, which is also the channel on which its changes are published."""
        return text(cast("Any", self._app.backend).get_key_for_task(job))

    def outcome(self, job: str, stored: bytes | str | None) -> Outcome | None:
        """Return how a job ended by what is stored under its key; None for nothing, or progress."""
        if stored is None:
            return None
        meta = cast("Any", self._app.backend).decode_result(stored)
        if meta["status"] not in states.READY_STATES:
            return None
        if meta["status"] == states.SUCCESS:
            return Outcome(data=meta["result"])
        if meta["status"] == states.REVOKED:
            return Outcome(exception=JobRevoked(job=job))
        return Outcome(exception=_exception(meta["result"]))


def _exception(stored: object) -> Exception:
    """Return a failed job's exception; Celery gives back one of our classes if it knows its module."""
    return stored if isinstance(stored, Exception) else FleetError(str(stored or "the job failed"))
