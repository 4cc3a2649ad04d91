"""Connects the dispatcher to Redis and Celery: implements the protocols of dispatch/ports.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

from pydantic import ValidationError

from whisper_fleet.scheduler.dispatch.dispatcher import Dispatcher
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared import names
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import JobNotFound
from whisper_fleet.shared.files.checkpoints import resolve
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.ledger.wakeup import dispatcher_looks
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import Assignment, Need, SegmentMessage, TranscribeRequest


def make_dispatcher(services: Services) -> Dispatcher:
    """Return a dispatcher that works on the fleet of these services."""
    return Dispatcher(
        services.settings,
        backlog=services.ledger,
        registry=services.fleet,
        messages=CeleryMessages(services),
        board=RedisReasonBoard(services),
        dims_of=partial(_dims_of, services.settings),
        clock=services.ledger.now,
    )


def _dims_of(settings: Settings, need: Need) -> ModelDims:
    """Return the dimensions that intake entered; only for a job of an older version, read them from the checkpoint."""
    return need.dims or resolve(need.model_name, settings.models, settings.model_roots)


class CeleryMessages:
    """Sends each segment as a Celery task to the queue that is pinned to its GPU."""

    def __init__(self, services: Services) -> None:
        self._app = services.app
        self._redis = services.redis

    def accept_wakeups(self) -> None:
        """Clear the flag that a wake-up is on its way."""
        dispatcher_looks(self._redis)

    def send(self, assignments: Sequence[Assignment]) -> None:
        """Send the assignments over one connection; the token of each becomes the id of its task."""
        files = self._files(assignments)
        with self._app.producer_or_acquire() as producer:
            for assignment in assignments:
                message = SegmentMessage(job=assignment.job, segment=assignment.segment, token=assignment.token)
                self._app.send_task(
                    names.TRANSCRIBE_SEGMENT,
                    kwargs=message.model_dump(),
                    kwargsrepr=repr({"file": files[message.job], "segment": message.segment}),
                    task_id=assignment.token,
                    queue=names.GpuName.parse(assignment.gpu).queue,
                    ignore_result=True,
                    producer=producer,
                )

    def _files(self, assignments: Sequence[Assignment]) -> dict[str, str]:
        """Return the name of each job's file, which Flower shows; empty for a job that was forgotten meanwhile."""
        jobs = list({assignment.job for assignment in assignments})
        with self._redis.pipeline(transaction=False) as pipeline:
            for job in jobs:
                pipeline.hget(keys.job(job), "request")
            found = cast("list[bytes | None]", pipeline.execute())
        return {job: _file(request) for job, request in zip(jobs, found, strict=True)}


def _file(request: bytes | None) -> str:
    try:
        return "" if request is None else file_name(TranscribeRequest.from_json(request).file_path)
    except ValidationError:  # written by another version
        return ""


class RedisReasonBoard:
    """Keeps the reason per lane in Redis and shows it as the progress of the lane's jobs."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def replace(self, lane: str, reason: str, seconds: int) -> bool:
        """Set a lane's reason; return whether it was another one before."""
        previous = self._services.redis.set(keys.lane_wait(lane), reason, ex=seconds, get=True)
        self._services.redis.sadd(keys.WAITING_LANES, lane)
        return previous is None or text(cast("bytes", previous)) != reason

    def shown_lanes(self) -> set[str]:
        """Return the lanes with a reason, also those whose reason has expired and was not withdrawn."""
        return {text(lane) for lane in cast("set[bytes]", self._services.redis.smembers(keys.WAITING_LANES))}

    def withdraw(self, lane: str) -> bool:
        """Remove a lane's reason; only the dispatcher to which this returns True shows that it is gone."""
        self._services.redis.delete(keys.lane_wait(lane))
        return bool(self._services.redis.srem(keys.WAITING_LANES, lane))

    def show(self, job: str, reason: str | None, now: float) -> None:
        """Show the reason in `AsyncResult(job).info`; a job that has been forgotten meanwhile is skipped."""
        try:
            record = self._services.ledger.job(job)
        except JobNotFound:
            return
        self._services.show(job, record.progress(now).model_copy(update={"message": reason}))
