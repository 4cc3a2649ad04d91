"""Jobs as the command line sees them: sent by name to whatever fleet listens, followed by their id."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from whisper_fleet.client import FleetClient
from whisper_fleet.shared.errors import FleetError, JobNotFinished, JobNotFound
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended: with a transcript, or with what went wrong."""

    transcript: dict[str, Any] | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.transcript is not None


class JobClient:
    """Submits and follows jobs; Celery's and Redis' errors pass through, at first within seconds."""

    def __init__(self, settings: Settings) -> None:
        url = settings.redis_url
        with Redis.from_url(url, retry=Retry(ConstantBackoff(0.5), 6), socket_connect_timeout=5.0) as redis:
            redis.ping()
        self._fleet = FleetClient(settings)

    def submit(self, **asked: Any) -> str:
        """Sends a job and returns its id; raises a RequestError."""
        return self._fleet.submit(**asked)

    def outcome(self, job: str) -> Outcome | None:
        """How the job ended; None while it has not. Raises JobNotFound."""
        answer = self._fleet.answer(job)
        if not answer.ready():
            return None
        if answer.successful():
            return Outcome(transcript=cast("dict[str, Any]", answer.result))
        return Outcome(error=_words(answer.result, answer.state))

    def result(self, job: str) -> Outcome:
        """How the job ended; raises JobNotFound or JobNotFinished."""
        outcome = self.outcome(job)
        if outcome is None:
            raise JobNotFinished(job=job, state=self.record(job).state)
        return outcome

    def progress(self, job: str) -> JobProgress | None:
        """How far the job is; None before an intake has drawn it."""
        info = self._fleet.answer(job).info
        is_told = isinstance(info, dict) and "stage" in info
        return JobProgress.model_validate(info, extra="ignore") if is_told else None

    def record(self, job: str) -> JobRecord:
        """The ledger's record; raises JobNotFound."""
        return self._fleet.record(job)

    def newest(self, most: int) -> list[JobRecord]:
        """The last jobs that came in, the newest first."""
        records = []
        for job in self._fleet.ledger.jobs(0, most - 1):
            with suppress(JobNotFound):  # forgotten, but not swept yet
                records.append(self.record(job))
        return records

    def cancel(self, job: str) -> bool:
        """Ends a job that runs or waits; False when it had ended. Raises JobNotFound."""
        return self._fleet.cancel(job)


def _words(error: object, state: str) -> str:
    if isinstance(error, FleetError):
        return f"{type(error).__name__}: {error}"
    return str(error) or state.lower()
