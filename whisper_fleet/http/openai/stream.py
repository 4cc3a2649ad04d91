"""The events of a streamed transcription: text as windows finish, then all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from whisper_fleet.http.errors import api_error
from whisper_fleet.http.events import Event
from whisper_fleet.http.openai.responses import usage_of
from whisper_fleet.http.services import HttpServices
from whisper_fleet.http.waiting.attachment import Attachment
from whisper_fleet.shared.ledger.text_so_far import TextPosition, read_text

_DONE = Event(data="[DONE]")
#: Seconds between two looks for new text; a change that is published is seen at once.
_INTERVAL = 1.0


async def transcription_events(services: HttpServices, attachment: Attachment) -> AsyncIterator[Event]:
    """Yield OpenAI's events of a job; its error is the last one if it fails. Deltas add up to the text."""
    sent = ""
    try:
        async with attachment.waiting():
            async for delta in _deltas(services, attachment):
                text = delta if sent else delta.lstrip()
                if text:
                    sent += text
                    yield _delta(text)
            result = await services.fleet.result(attachment.job)
        text = result.text.strip()
        if text.startswith(sent) and text != sent:  # what came with the last window
            yield _delta(text[len(sent) :])
        yield Event.of({"type": "transcript.text.done", "text": text, "usage": usage_of(result).model_dump()})
        yield _DONE
    except Exception as error:
        yield Event.of(api_error(error).body())


async def _deltas(services: HttpServices, attachment: Attachment) -> AsyncIterator[str]:
    """Yield new text whenever there is some, until the job has ended."""
    position = TextPosition()
    async for _ in services.fleet.watch(attachment.job, _INTERVAL):
        text, position = await read_text(services.redis, attachment.job, position)
        if text:
            yield text


def _delta(text: str) -> Event:
    return Event.of({"type": "transcript.text.delta", "delta": text})
