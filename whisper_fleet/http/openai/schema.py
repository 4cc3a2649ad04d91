"""The OpenAPI description of the audio routes, whose forms FastAPI does not read itself."""

from __future__ import annotations

from typing import Any

from whisper_fleet.http.openai.options import RESPONSE_FORMATS
from whisper_fleet.http.openai.responses import Transcription, VerboseTranscription

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}


def _field(description: str, **schema: Any) -> dict[str, Any]:
    return {**(schema or _TEXT), "description": description}


_FIELDS: dict[str, Any] = {
    "file": _field("The audio or video file.", type="string", format="binary"),
    "model": _field("A model of `GET /v1/models`; `whisper-1` is the fleet's default."),
    "language": _field("Language code or English name; left out, it is detected."),
    "prompt": _field("Text that the first window is prompted with; Whisper reads its last 224 tokens."),
    "response_format": _field("Form of the response.", type="string", enum=list(RESPONSE_FORMATS), default="json"),
    "temperature": _field(
        "0, or left out: Whisper's ladder from 0 to 1, which rises where the text is doubtful. Else one pass.",
        type="number",
        minimum=0,
        maximum=1,
        default=0,
    ),
    "timestamp_granularities[]": _field(
        "Of `verbose_json`: only `word` leaves out the segments.",
        type="array",
        items={"type": "string", "enum": ["word", "segment"]},
    ),
    "stream": _field(
        "Send `json` and `text` as events, while windows finish; ignored for other formats.",
        type="boolean",
        default=False,
    ),
    "chunking_strategy": _field("`auto` or an object: cut long files where nobody speaks; its numbers are ignored."),
    "keywords[]": _field("Words to expect; they are added to the prompt.", **_TEXTS),
    "languages[]": _field("Possible languages: one is the language, several are detected.", **_TEXTS),
    "include[]": _field("`logprobs` is refused: there are none per token.", **_TEXTS),
    "known_speaker_names[]": _field("Refused: speakers are not told apart.", **_TEXTS),
}

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file", "model"], "properties": _FIELDS},
            }
        },
    }
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The transcript.",
        "model": VerboseTranscription | Transcription,
        "content": {"text/plain": {"schema": _TEXT}, "text/event-stream": {}},
    },
}
