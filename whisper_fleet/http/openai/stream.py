"""The events of a streamed transcription: text as windows finish, then all of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from whisper_fleet.http.errors import api_error
from whisper_fleet.http.events import Event
from whisper_fleet.http.openai.responses import usage_of
from whisper_fleet.http.services import HttpServices
from whisper_fleet.http.waiting.attachment import Attachment
from whisper_fleet.shared.ledger.text_so_far import TextPosition, read_text

_DONE = Event(data="[DONE]")
#: Seconds between two looks for new text; a change that is published is seen at once.
_INTERVAL = 1.0


async def transcription_events(services: HttpServices, attachment: Attachment) -> AsyncGenerator[Event | None]:
    """Yield OpenAI's events of a job; its error is the last one if it fails. Deltas add up to the text."""
    sent = ""
    try:
        async with attachment.waiting():
            async with aclosing(_deltas(services, attachment)) as deltas:
                async for delta in deltas:
                    text = delta if sent else delta.lstrip()
                    sent += text
                    yield _delta(text) if text else None
            result = await services.fleet.result(attachment.job)
        text = result.text.strip()
        if text.startswith(sent) and text != sent:  # what came with the last window
            yield _delta(text[len(sent) :])
        yield Event.of({"type": "transcript.text.done", "text": text, "usage": usage_of(result).model_dump()})
        await attachment.answered()
        yield _DONE
    except Exception as error:
        yield Event.of(api_error(error).body())


async def _deltas(services: HttpServices, attachment: Attachment) -> AsyncGenerator[str]:
    """Yield new text, or nothing, at least once per second, until the job has ended."""
    position = TextPosition()
    async with services.fleet.changes(attachment.job) as wait:
        while await services.fleet.outcome(attachment.job) is None:
            text, position = await read_text(services.redis, attachment.job, position)
            yield text
            await wait(_INTERVAL)


def _delta(text: str) -> Event:
    return Event.of({"type": "transcript.text.delta", "delta": text})
