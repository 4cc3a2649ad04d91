"""The events of a job: its progress and its text so far, then its end. A client that lost the connection resumes.

The id of every event is a position in the text. A client that sends the last one as `Last-Event-ID` gets only the text
behind it, from any server of the fleet. The text so far is kept for an hour after the job's end; the last event has
all of it in any case.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from whisper_fleet.errors import JobNotFinished
from whisper_fleet.http.errors import api_error
from whisper_fleet.http.events import Event
from whisper_fleet.http.jobs.views import ProgressView
from whisper_fleet.http.services import HttpServices
from whisper_fleet.shared.ledger.text_so_far import TextPosition, read_text
from whisper_fleet.shared.wire import JobProgress

#: Seconds between two looks for text; what is published is seen at once.
_INTERVAL = 1.0


async def job_events(services: HttpServices, job: str, last_id: str | None) -> AsyncGenerator[Event | None]:
    """Yield the events of a job behind the last one that the client has, None for nothing new; the last is `end`."""
    position = (TextPosition.parse(last_id) if last_id else None) or TextPosition()
    shown: JobProgress | None = None
    try:
        async with services.fleet.changes(job) as wait:
            while await services.fleet.outcome(job) is None:
                text, position = await read_text(services.redis, job, position)
                yield Event.of({"delta": text}, name="text", id=str(position)) if text else None
                progress = await services.fleet.status(job)
                if progress != shown:
                    shown = progress
                    yield _progress(progress, position)
                await wait(_INTERVAL)
        text, position = await read_text(services.redis, job, position)
        if text:
            yield Event.of({"delta": text}, name="text", id=str(position))
        yield _progress(await services.fleet.status(job), position)
        yield await _end(services, job, position)
    except Exception as error:
        yield Event.of(api_error(error).body(), name="error")


def _progress(progress: JobProgress, position: TextPosition) -> Event:
    view = ProgressView(**progress.model_dump(exclude={"warnings"}))
    return Event.of(view.model_dump(), name="progress", id=str(position))


async def _end(services: HttpServices, job: str, position: TextPosition) -> Event:
    outcome = await services.fleet.outcome(job)
    if outcome is None:  # the job was forgotten in this moment
        raise JobNotFinished(job=job, state="running")
    error = {"type": type(outcome.exception).__name__, "message": str(outcome.exception)}
    end = {
        "state": outcome.state,
        "text": outcome.result.text if outcome.succeeded else None,
        "error": None if outcome.succeeded else error,
    }
    return Event.of(end, name="end", id=str(position))
