"""The Celery tasks of an intake node: `transcribe`, which clients send, and `assemble`, which ends every job.

Both run under the id that the client holds. What they raise is what the client's `get()` raises.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NoReturn, TypeVar

from celery import Task
from celery.exceptions import Ignore

from whisper_fleet.scheduler.app import app
from whisper_fleet.scheduler.intake.assembly import merge, result_of
from whisper_fleet.scheduler.intake.claims import claimed
from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.intake.postprocess import JobContext, post_process
from whisper_fleet.scheduler.intake.settlement import settle
from whisper_fleet.scheduler.intake.writers import target_of
from whisper_fleet.scheduler.services import Services, services
from whisper_fleet.shared import errors, names
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.errors import BadOption, FleetError, JobError, JobNotFound, RequestError
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobState

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two tries while Redis is unreachable.
_PAUSE = 1.0


class _ClientTask(Task):  # type: ignore[type-arg]  # generic only in the stubs
    """A task whose result belongs to a client: once it is stored, the ledger may forget the job."""

    #: A client's mistake is not an error of the fleet: Celery logs one line, without a traceback.
    throws = (RequestError, JobError)
    #: The message of a killed process is delivered again. It does nothing while the dead process' claim holds; after
    #: that, recovery sends the message again, as often as the ledger allows.
    reject_on_worker_lost = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        settle(services(), task_id)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        settle(services(), task_id)


@app.task(bind=True, base=_ClientTask, name=names.TRANSCRIBE)
def transcribe(self: Task[Any, Any], *positional: Any, **keywords: Any) -> NoReturn:
    """Plan a job; its progress and its end are shown under the same id."""
    if positional:
        raise BadOption(name="arguments", reason="send them by keyword: file_path=...")
    _retry_until_reachable(partial(_take_in, str(self.request.id), keywords))
    raise Ignore


def _take_in(job: str, keywords: dict[str, Any]) -> None:
    if _planner().take_in(job, keywords):
        services().wake_dispatcher()


@app.task(bind=True, base=_ClientTask, name=names.ASSEMBLE)
def assemble(self: Task[Any, Any]) -> dict[str, Any]:
    """Return the client's result, or raise the reason why there is none."""
    return _retry_until_reachable(partial(_end, self, str(self.request.id)))


def _end(task: Task[Any, Any], job: str) -> dict[str, Any]:
    try:
        record = services().ledger.job(job)
    except JobNotFound:
        _log.warning("nothing to assemble: no job %s", job)
        raise Ignore from None
    if record.state is JobState.ASSEMBLING:
        return _assembled(services(), record)
    if record.state is JobState.FAILED:
        raise reason_of(record)
    if record.state is JobState.CANCELLED:
        task.backend.mark_as_revoked(job, str(record.error), request=task.request)
        settle(services(), job)
    raise Ignore


def _assembled(fleet: Services, record: JobRecord) -> dict[str, Any]:
    """Write the files of a job and return its result; an error fails the job."""
    try:
        with claimed(fleet, record.job, JobState.ASSEMBLING) as is_ours:
            if not is_ours:
                raise Ignore
            plans, results = fleet.ledger.plans(record.job), fleet.ledger.results(record.job)
            transcript = post_process(merge(plans, results), _context(fleet, record))
            target = target_of(record.request, fleet.settings.media_roots)
            files = target.write(transcript) if target else []
    except (Ignore, *UNREACHABLE):
        raise
    except Exception as error:
        fleet.ledger.fail(record.job, type(error).__name__, str(error), time.time())
        raise
    return result_of(record, transcript, results, files, time.time())


def _context(fleet: Services, record: JobRecord) -> JobContext:
    return JobContext(job=record.job, request=record.request, duration=record.duration or 0.0, settings=fleet.settings)


def reason_of(record: JobRecord) -> FleetError:
    """Return the error that failed a job, with the type that it had."""
    kind = getattr(errors, record.error_type or "", None)
    if isinstance(kind, type) and issubclass(kind, FleetError):
        return kind(record.error)
    return JobError(f"{record.error_type}: {record.error}")


def _retry_until_reachable(step: Callable[[], T]) -> T:
    """Repeat a step while Redis is unreachable, without limit: a client waits for it, and no step does harm twice."""
    while True:
        try:
            return step()
        except UNREACHABLE as error:
            _log.warning("intake waits for Redis: %s", error)
            time.sleep(_PAUSE)


@lru_cache(maxsize=1)
def _planner() -> Planner:
    return Planner(services())
