"""What a form of OpenAI's audio API asks for, as a request of the fleet. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whisper_fleet.errors import BadOption, RequestError
from whisper_fleet.http.errors import ApiError
from whisper_fleet.http.model_names import model_of
from whisper_fleet.http.openai.fields import Fields, wrong
from whisper_fleet.shared.request.options import TranscribeRequest, WhisperOptions
from whisper_fleet.shared.request.parsing import FleetDefaults, parse_request
from whisper_fleet.shared.settings import Settings

Task = Literal["transcribe", "translate"]

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_GRANULARITIES = ("word", "segment")
#: Formats that are sent while they are made. For others `stream` is ignored, as OpenAI ignores it for whisper-1.
_STREAMED = ("json", "text")
#: Characters of the prompt that are kept, from its end: more than the 224 tokens that Whisper reads.
_PROMPT_CHARACTERS = 4096

#: The fleet's options that a form may hold beside OpenAI's fields. Others name files, GPUs or tenants, or are
#: expressed by a field of OpenAI's.
EXTRA_OPTIONS = frozenset(WhisperOptions.model_fields) - {"temperature", "initial_prompt"} | {
    "vad",
    "audio_track",
    "channel",
    "keep_time",
    "language_detection",
    "segment_duration",
    "precision",
    *("max_line_width", "max_line_count", "max_words_per_line", "highlight_words"),
}
#: OpenAI's field for an option of the fleet, in errors.
_FIELD_OF = {"initial_prompt": "prompt", "model_name": "model", "word_timestamps": "timestamp_granularities"}


@dataclass(frozen=True, kw_only=True)
class AudioOptions:
    """What one form asks for."""

    request: dict[str, Any]  # keywords of a job, without its file
    response_format: str
    has_words: bool  # of verbose_json
    has_segments: bool
    is_streamed: bool


def audio_options(form: Mapping[str, Sequence[str]], task: Task, settings: Settings) -> AudioOptions:
    """Return what a form asks for; raises ApiError for the first field that is wrong."""
    fields = Fields(form)
    response_format = fields.choice("response_format", RESPONSE_FORMATS, "json")
    granularities = _granularities(fields, response_format)
    request: dict[str, Any] = {"task": task, **_model(fields, settings), **_temperature(fields)}
    request |= _language(fields, task) | _prompt(fields) | _cutting(fields)
    if "word" in granularities:
        request["word_timestamps"] = True
    streams = fields.flag("stream") and settings.http_stream and response_format in _STREAMED
    _refuse_what_whisper_lacks(fields, response_format)
    request |= _extras(fields)
    _check(request, settings)
    return AudioOptions(
        request=request,
        response_format=response_format,
        has_words="word" in granularities,
        has_segments="segment" in granularities or not granularities,
        is_streamed=streams,
    )


def _model(fields: Fields, settings: Settings) -> dict[str, Any]:
    name = fields.text("model")
    if name is None:
        raise ApiError(400, "you must provide a model", param="model", code="missing_required_parameter")
    return {"model_name": model_of(name, settings)}


def _temperature(fields: Fields) -> dict[str, Any]:
    """Leave 0 out: it is Whisper's ladder, which starts there and rises where the text is doubtful."""
    temperature = fields.number("temperature", 0.0, 1.0)
    return {"temperature": temperature} if temperature else {}


def _language(fields: Fields, task: Task) -> dict[str, Any]:
    """Return the language; of several possible ones none, because Whisper then detects it by itself."""
    language, languages = fields.text("language"), fields.texts("languages")
    if language is None and len(languages) == 1:
        (language,) = languages
    return {} if language is None else {"language": language}


def _prompt(fields: Fields) -> dict[str, Any]:
    """Return the prompt with the keywords behind it: Whisper has no other place for either."""
    parts = [fields.text("prompt") or "", ", ".join(fields.texts("keywords"))]
    prompt = " ".join(filter(None, parts))[-_PROMPT_CHARACTERS:]
    return {"initial_prompt": prompt} if prompt else {}


def _cutting(fields: Fields) -> dict[str, Any]:
    """Return where a long file is cut: where nobody speaks, for every chunking strategy of OpenAI's."""
    return {"vad": "cut"} if fields.has_group("chunking_strategy") else {}


def _granularities(fields: Fields, response_format: str) -> list[str]:
    granularities = fields.texts("timestamp_granularities")
    for value in granularities:
        if value not in _GRANULARITIES:
            raise wrong("timestamp_granularities", value, "word or segment")
    if "word" in granularities and response_format != "verbose_json":  # segments alone are accepted, as by OpenAI
        reason = "the timestamp_granularities word needs response_format=verbose_json"
        raise ApiError(400, reason, param="timestamp_granularities", code="invalid_value")
    return granularities


def _refuse_what_whisper_lacks(fields: Fields, response_format: str) -> None:
    """Raise ApiError for what only other models of OpenAI's give, rather than leave it out in silence."""
    if response_format == "diarized_json":
        raise ApiError(400, "diarized_json: this fleet does not tell speakers apart", param="response_format")
    for name in ("known_speaker_names", "known_speaker_references"):
        if fields.texts(name):
            raise ApiError(400, f"{name}: this fleet does not tell speakers apart", param=name)
    for value in fields.texts("include"):
        if value != "logprobs":
            raise wrong("include", value, "logprobs")
        reason = "include logprobs: the fleet has none per token; verbose_json has avg_logprob per segment"
        raise ApiError(400, reason, param="include")


def _extras(fields: Fields) -> dict[str, Any]:
    rest = fields.rest()
    for name in rest:
        if name not in EXTRA_OPTIONS:
            reason = f"unrecognized request argument supplied: {name[:100]}"
            raise ApiError(400, reason, param=name[:100], code="unknown_parameter")
    return rest


def _check(request: dict[str, Any], settings: Settings) -> TranscribeRequest:
    """Raise the error of an option before anything is submitted, under OpenAI's name for the field."""
    try:
        return parse_request({**request, "file_path": "/"}, FleetDefaults.of(settings))
    except BadOption as error:
        name = str(error).removeprefix("The option ").partition(" ")[0]
        raise ApiError(400, str(error), param=_FIELD_OF.get(name, name), code="invalid_value") from None
    except RequestError:
        raise
