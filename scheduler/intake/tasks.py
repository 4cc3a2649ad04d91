"""The Celery tasks of an intake node: `transcribe`, which clients send, and `assemble`, which ends every job.

Both run under the id that the client holds. What they raise is what the client's `get()` raises.
"""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from typing import Any

from celery import Task, states
from celery.exceptions import Ignore

from whisper_fleet.scheduler.app import app
from whisper_fleet.scheduler.intake.claims import claimed
from whisper_fleet.scheduler.intake.delivery import assembled, delivered_again
from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.intake.receipt import Receipt
from whisper_fleet.scheduler.intake.settlement import settle
from whisper_fleet.scheduler.services import Services, services
from whisper_fleet.shared import errors, names, tracing
from whisper_fleet.shared.connect import Outage, is_outage
from whisper_fleet.shared.display.log_fields import add_log_fields, log_fields, request_fields
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import (
    BadOption,
    EngineRequestInvalid,
    FleetError,
    JobError,
    JobExists,
    JobNotFound,
    ModelUnavailable,
    RequestError,
)
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.ledger.running import was_deleted
from whisper_fleet.shared.wire import JobState

_log = logging.getLogger(__name__)

#: What a client submitted waits for Redis, however long it is down: every step may be repeated.
_WAITING = Outage("intake", _log)


class _ClientTask(Task):  # type: ignore[type-arg]  # generic only in the stubs
    """A task whose result belongs to a client: once it is stored, the ledger may forget the job."""

    #: A client's mistake is not an error of the fleet: Celery logs one line, without a traceback.
    throws = (RequestError, JobError, EngineRequestInvalid, ModelUnavailable)
    #: The message of a killed process is delivered again. It does nothing while the dead process' claim holds; after
    #: that, recovery sends the message again, as often as the ledger allows.
    reject_on_worker_lost = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        _WAITING.retried(partial(settle, services(), task_id))

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        _WAITING.retried(partial(settle, services(), task_id))


@app.task(bind=True, base=_ClientTask, name=names.TRANSCRIBE)
def transcribe(self: Task[Any, Any], *positional: Any, **keywords: Any) -> dict[str, Any]:
    """Plan a job; its progress and its end are shown under the same id.

    Only for a job that had ended before is there something to return: its result.
    """
    with log_fields(job=self.request.id):
        keywords = _keywords(positional, keywords, is_step=self.request.parent_id is not None)
        add_log_fields(file=file_name(str(keywords.get("file_path", ""))), tenant=str(keywords.get("tenant") or ""))
        return _WAITING.retried(partial(_take_in, self, keywords))


def _keywords(positional: tuple[Any, ...], given: dict[str, Any], *, is_step: bool) -> dict[str, Any]:
    """Return the keywords of a request. As a step of a chain, it also takes what the step before it returned."""
    if not positional:
        return given
    if is_step and len(positional) == 1 and "file_path" not in given:
        before = positional[0]
        return {**before, **given} if isinstance(before, dict) else {"file_path": before, **given}
    raise BadOption(name="arguments", reason="send them by keyword: file_path=..., in a chain with .si() or immutable")


def _take_in(task: Task[Any, Any], keywords: dict[str, Any]) -> dict[str, Any]:
    fleet, job, receipt = services(), str(task.request.id), Receipt.of(task.request)
    try:
        known = _known(fleet, job)
        if known is not None:
            _planner().check_same(known, keywords, receipt)
            if known.state.is_final:
                return _answered_again(fleet, known, task)
        elif was_deleted(fleet.redis, job):
            raise Ignore
        with tracing.span("receive", receipt.trace or (known.trace if known else None), "consumer", job=job):
            if _planner().take_in(job, keywords, receipt):
                fleet.wake_dispatcher()
    except JobExists as error:  # the result under this id is the first job's
        _log.warning("%s", error)
        task.backend.mark_as_failure(job, error, request=task.request, store_result=False)
    raise Ignore


def _known(fleet: Services, job: str) -> JobRecord | None:
    try:
        return fleet.ledger.job(job)
    except JobNotFound:
        return None


def _answered_again(fleet: Services, record: JobRecord, task: Task[Any, Any]) -> dict[str, Any]:
    """Return or raise the answer of a job that has ended, for a client that sends the same request once more."""
    if record.state is JobState.FAILED:
        raise reason_of(record)
    if record.state is JobState.CANCELLED:
        task.backend.mark_as_revoked(record.job, str(record.error), request=task.request)
        raise Ignore
    return delivered_again(fleet, record)


@app.task(bind=True, base=_ClientTask, name=names.ASSEMBLE)
def assemble(self: Task[Any, Any]) -> dict[str, Any]:
    """Return the client's result, or raise the reason why there is none."""
    with log_fields(job=self.request.id):
        return _WAITING.retried(partial(_end, self, str(self.request.id)))


def _end(task: Task[Any, Any], job: str) -> dict[str, Any]:
    try:
        record = services().ledger.job(job)
    except JobNotFound:
        _log.warning("nothing to assemble: no job %s", job)
        raise Ignore from None
    if record.continuation is not None:
        record.continuation.restore(task.request)
    add_log_fields(**request_fields(record.request))
    if record.state is JobState.ASSEMBLING and not _has_answer(task, services()):
        return _assembled(services(), record)
    if record.state is JobState.FAILED:
        raise reason_of(record)
    if record.state is JobState.CANCELLED:
        task.backend.mark_as_revoked(job, str(record.error), request=task.request)
    if record.state in (JobState.CANCELLED, JobState.ASSEMBLING):
        settle(services(), job)
    raise Ignore


def _has_answer(task: Task[Any, Any], fleet: Services) -> bool:
    """Return whether a process died between a job's answer and the ledger's last step: nothing is to be called again.

    A part of a chord is counted after its answer is stored, so that it is assembled again.
    """
    backend: Any = fleet.app.backend
    return not task.request.chord and backend.get_task_meta(task.request.id)["status"] == states.SUCCESS


def _assembled(fleet: Services, record: JobRecord) -> dict[str, Any]:
    """Write the files of a job and return its result; an error before there is a transcript fails the job."""
    try:
        with claimed(fleet, record.job, JobState.ASSEMBLING) as is_ours:
            if not is_ours:
                raise Ignore
            with tracing.span("assemble", record.trace, job=record.job, segments=record.segments_total):
                return assembled(fleet, record)
    except Ignore:
        raise
    except Exception as error:
        if is_outage(error):
            raise
        fleet.ledger.fail(record.job, type(error).__name__, str(error), fleet.ledger.now())
        raise


def reason_of(record: JobRecord) -> FleetError:
    """Return the error that failed a job, with the type that it had."""
    kind = getattr(errors, record.error_type or "", None)
    if isinstance(kind, type) and issubclass(kind, FleetError):
        return kind(record.error)
    return JobError(f"{record.error_type}: {record.error}")


@lru_cache(maxsize=1)
def _planner() -> Planner:
    return Planner(services())
