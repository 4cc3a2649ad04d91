"""The fleet for Python callers: submit, status, result, cancel, watch; neither torch nor whisper needed."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from celery import Celery, states
from celery.exceptions import TimeoutError as ResultTimeout
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from whisper_fleet.shared import names
from whisper_fleet.shared.connect import connect
from whisper_fleet.shared.errors import BadOption, JobNotFinished, JobNotFound
from whisper_fleet.shared.ledger.actions import JobActions
from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.ledger.records import JobRecord, lane_of
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.requests import FleetDefaults, as_keywords, parse_request
from whisper_fleet.shared.settings import Settings, load_settings
from whisper_fleet.shared.wire import GpuStatus, JobProgress, JobState

_log = logging.getLogger(__name__)


class FleetClient:
    """Jobs by their ids; thread-safe. Redis errors pass through after half a minute of patience."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or load_settings()
        url = self._settings.redis_url
        self._app = Celery("whisper_fleet", broker=url, backend=url, set_as_current=False)
        self._app.conf.update(task_send_sent_event=True, broker_connection_retry_on_startup=True)
        self._redis = connect(url)
        self.ledger = Ledger.from_settings(self._redis, self._settings)
        self._actions = JobActions(self.ledger, self._app)
        self._fleet = GpuRegistry(self._redis)

    def submit(self, *, job: str | None = None, **asked: Any) -> str:
        """Enter a job and send it; its id. A RequestError says which keyword is wrong.

        The ledger knows the job before its message is sent, so that not even a lost message loses it. An id
        of the caller's own may be sent again: it is one job.
        """
        job = job or str(uuid.uuid4())
        request = parse_request(asked, self._known())
        if self.ledger.accept(job, request, time.time()):
            self._send(names.TRANSCRIBE, job, names.TRANSCRIBE_QUEUE, as_keywords(request))
        return job

    def status(self, job: str) -> JobProgress:
        """How far a job is, and why nothing moves if nothing moves; raises JobNotFound."""
        record = self.ledger.job(job)
        progress = record.progress(time.time())
        if record.state is JobState.RUNNING and record.started is None:
            why = self.ledger.why_waits(lane_of(record.request).lane)
            return progress.model_copy(update={"message": why})
        if record.state in (JobState.FAILED, JobState.CANCELLED):
            return progress.model_copy(update={"message": record.error})
        return progress

    def result(self, job: str, timeout: float | None = None) -> dict[str, Any]:
        """The transcript; waits for it for `timeout` seconds (None: as long as it takes).

        Raises JobNotFinished after that, the error of a failed job, and Celery's TaskRevokedError for a
        cancelled one.
        """
        answer = self.answer(job)
        if timeout == 0 and not answer.ready():
            raise JobNotFinished(job=job, state=self.ledger.job(job).state)
        try:
            return cast("dict[str, Any]", answer.get(timeout=timeout))
        except ResultTimeout:
            raise JobNotFinished(job=job, state=self.ledger.job(job).state) from None

    def cancel(self, job: str) -> bool:
        """End a job, whatever it is doing; False when it had ended before. Raises JobNotFound."""
        return self._actions.cancel(job, time.time())

    def watch(self, job: str, interval: float = 0.5) -> Iterator[JobProgress]:
        """Progress whenever it changed, until the client's answer is there."""
        shown: JobProgress | None = None
        while not self.answer(job).ready():
            progress = self.status(job)
            if progress != shown:
                shown = progress
                yield progress
            time.sleep(interval)
        yield self.status(job)

    def gpus(self) -> list[GpuStatus]:
        """The GPUs that are up."""
        return self._fleet.gpus(time.time(), self._settings.heartbeat_timeout)

    def record(self, job: str) -> JobRecord:
        """All that the ledger knows of a job; raises JobNotFound."""
        return self.ledger.job(job)

    def close(self) -> None:
        """Let go of every connection."""
        self._app.close()
        self._redis.close()

    def _known(self) -> FleetDefaults:
        return FleetDefaults(
            default_model=self._settings.default_model,
            default_precision=self._settings.default_precision,
            segment_duration=self._settings.segment_duration,
        )

    def _send(self, task: str, job: str, queue: str, keywords: dict[str, Any]) -> None:
        """An error here would have the caller ask again for what the ledger knows, and recovery will send."""
        try:
            self._app.send_task(task, kwargs=keywords, task_id=job, queue=queue)
        except OperationalError as error:
            _log.warning("the message of job %s is left to recovery: %s", job, error)

    def answer(self, job: str) -> AsyncResult[Any]:
        """What Celery holds for a job; raises JobNotFound for one whose answer will never come."""
        self._redis.ping()  # has the patience that Celery has not
        answer: AsyncResult[Any] = AsyncResult(job, app=self._app)
        # An unknown id would be pending for ever. So would a job that is done, if its answer has gone since: that
        # is looked for again, because it may have come before the ledger was asked.
        is_done = answer.state == states.PENDING and self.ledger.job(job).state is JobState.DONE
        if is_done and answer.state == states.PENDING:
            raise self.ledger.not_found(job)
        return answer


class QueueManager:
    """Tasks of one caller, by its own ids: adds them to the fleet and knows which of them are going on."""

    def __init__(self, client: FleetClient | None = None) -> None:
        self.client = client or FleetClient()
        self._open: dict[str, JobState] = {}

    def add(self, task: dict[str, Any]) -> str:
        """Send a task: the keywords of a job, and optionally `task_id`; its id."""
        asked = dict(task)
        job = asked.pop("task_id", None)
        for name in ("file_path", "output_path"):
            if isinstance(asked.get(name), str) and "://" not in asked[name]:
                asked[name] = str(Path(asked[name]).absolute())
        if job is not None and not isinstance(job, str):
            raise BadOption(name="task_id", reason=f"{job!r} is not a text")
        job = self.client.submit(job=job, **asked)
        self._open[job] = JobState.ACCEPTED
        return job

    def open_tasks(self) -> dict[str, JobProgress]:
        """The tasks of this caller that have not ended, in the order in which they were added."""
        going_on = {}
        for job in list(self._open):
            try:
                record = self.client.record(job)
            except JobNotFound:
                del self._open[job]
                continue
            if record.state.is_final:
                del self._open[job]
            else:
                going_on[job] = self.client.status(job)
        return going_on


class TranscriptionProcessor:
    """Adds tasks and tells how many run; the fleet itself decides how many may."""

    def __init__(self, queue_manager: QueueManager | None = None) -> None:
        self._queue = queue_manager or QueueManager()

    def add_task_to_concurrent_queue(self, task: dict[str, Any]) -> str:
        """Send a task to the fleet; its id."""
        return self._queue.add(task)

    def get_concurrent_status(self) -> dict[str, int]:
        """Slots of the fleet, and how many of this caller's tasks run and wait."""
        return self._concurrent(self._queue.client.gpus(), self._queue.open_tasks())

    def get_system_status(self) -> dict[str, Any]:
        """GPUs, the concurrency and the open tasks of this caller with their progress."""
        gpus, tasks = self._queue.client.gpus(), self._queue.open_tasks()
        return {
            "gpu_status": [gpu.model_dump() for gpu in gpus],
            "concurrent_status": self._concurrent(gpus, tasks),
            "active_tasks": {job: progress.model_dump() for job, progress in tasks.items()},
        }

    def cleanup_resources(self) -> None:
        """Let go of every connection; tasks that were added go on."""
        self._queue.client.close()

    def _concurrent(self, gpus: list[GpuStatus], tasks: dict[str, JobProgress]) -> dict[str, int]:
        active = sum(progress.stage != "queued" for progress in tasks.values())
        slots = sum(gpu.slots for gpu in gpus)
        return {"max_concurrent_tasks": slots, "active_tasks": active, "queue_size": len(tasks) - active}
