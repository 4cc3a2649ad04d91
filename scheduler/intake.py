"""The Celery tasks of an intake node: `transcribe`, that clients send, and `assemble`, that ends every job.

Both run under the id that the client holds. What they raise is what the client's `get()` raises.
"""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any, NoReturn

from celery import Task
from celery.exceptions import Ignore

from scheduler import revocations
from scheduler.app import app
from scheduler.assemble import merge, timings
from scheduler.callbacks import call_back
from scheduler.planning import Planner
from scheduler.services import Services, services
from scheduler.writers import target_of
from shared import errors, queues
from shared.audio import Spool
from shared.errors import BadOption, FleetError, JobError, JobNotFound, RequestError
from shared.ledger_records import JobRecord
from shared.wire import JobState

_log = logging.getLogger(__name__)

revocations.watch(app)


class _ClientTask(Task):  # type: ignore[type-arg]  # generic only in the stubs
    """A task whose answer belongs to a client: once it is stored, the ledger may forget the job."""

    #: What a client got wrong is no error of the fleet: one line in the log.
    throws = (RequestError, JobError)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        _settle(task_id)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        _settle(task_id)


@app.task(bind=True, base=_ClientTask, name=queues.TRANSCRIBE)
def transcribe(self: Task[Any, Any], *positional: Any, **asked: Any) -> NoReturn:
    """Takes a job in; how it goes on and ends is shown under the same id."""
    if positional:
        raise BadOption(name="arguments", reason="send them by keyword: file_path=...")
    if _planner().take_in(str(self.request.id), asked):
        services().poke()
    raise Ignore


@app.task(bind=True, base=_ClientTask, name=queues.ASSEMBLE)
def assemble(self: Task[Any, Any]) -> dict[str, Any]:
    """Gives the client its transcript, or the reason why there is none."""
    job = str(self.request.id)
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
        self.backend.mark_as_revoked(job, str(record.error), request=self.request)
        _settle(job)
    raise Ignore


def _assembled(fleet: Services, record: JobRecord) -> dict[str, Any]:
    """The result of the job, its files written; what goes wrong now fails the job."""
    try:
        plans, results = fleet.ledger.plans(record.job), fleet.ledger.results(record.job)
        transcript = merge(plans, results)
        target = target_of(record.request)
        files = target.write(transcript) if target else []
    except Exception as error:
        fleet.ledger.fail(record.job, type(error).__name__, str(error), time.time())
        raise
    return {
        **transcript,
        "duration_s": record.duration,
        "model": record.request.model_name,
        "segment_gpus": [result.gpu for result in results],
        "output_files": files,
        "timings": timings(record, results, time.time()),
    }


def reason_of(record: JobRecord) -> FleetError:
    """The error that failed a job, typed as it was."""
    kind = getattr(errors, record.error_type or "", None)
    if isinstance(kind, type) and issubclass(kind, FleetError):
        return kind(record.error)
    return JobError(f"{record.error_type}: {record.error}")


def _settle(job: str) -> None:
    """The client's answer is stored."""
    fleet = services()
    Spool(fleet.settings).drop(job)
    try:
        record = fleet.ledger.job(job)
    except JobNotFound:  # a request that was refused at once
        return
    state = fleet.ledger.settle(job, time.time())
    if state is not None and record.request.callback_url:
        call_back(record.request.callback_url, job, state)


@lru_cache(maxsize=1)
def _planner() -> Planner:
    return Planner(services())


