"""From a client's keyword arguments to a TranscribeRequest, or to the RequestError that says what to fix. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import BadOption, BadPriority, RequestError, UnknownLanguage, UnknownOption
from whisper_fleet.shared.fields import FieldDoc, describe
from whisper_fleet.shared.models import Precision
from whisper_fleet.shared.request.options import TranscribeRequest, WhisperOptions
from whisper_fleet.shared.request.values import REASON
from whisper_fleet.shared.settings import Settings

#: Characters of a wrong value that its error repeats.
_SHOWN = 100

_OWN = {name: field for name, field in TranscribeRequest.model_fields.items() if name != "options"}
_WHISPERS = WhisperOptions.model_fields


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = field.annotation
    return TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)


_ADAPTERS = {name: _adapter(field) for name, field in {**_OWN, **_WHISPERS}.items()}

#: The options whose default is a setting, and that setting.
_SET_BY_THE_FLEET = {
    "model_name": "default_model",
    "precision": "default_precision",
    "segment_duration": "segment_duration",
}

#: The options that change how subtitles are divided.
_HIGHLIGHTED_CHARACTERS = 1000
_SUBTITLE_OPTIONS = ("max_line_width", "max_line_count", "max_words_per_line", "highlight_words")

#: The sentence about a wrong value of the fleet's own options, by the type of pydantic's error.
_REASONS = {
    "string_type": "is not a text",
    "string_too_short": "is not a text",
    "string_too_long": "is too long",
    "string_unicode": "cannot be written in UTF-8",
    "bool_type": "is neither true nor false",
    "float_type": "is not a number of seconds",
}


@dataclass(frozen=True, kw_only=True)
class FleetDefaults:
    """The options that a fleet sets for requests that leave them out."""

    default_model: str
    default_precision: Precision
    segment_duration: float  # seconds

    @classmethod
    def of(cls, settings: Settings) -> FleetDefaults:
        return cls(
            default_model=settings.default_model,
            default_precision=settings.default_precision,
            segment_duration=settings.segment_duration,
        )


def parse_request(given: Mapping[str, Any], defaults: FleetDefaults) -> TranscribeRequest:
    """Return the request that these keyword arguments make; a RequestError names the first that is wrong.

    None stands for an option that is left out, except for whisper's options, of which some have None as a value.
    """
    for name in given:
        if name not in _ADAPTERS:
            raise UnknownOption(name=name[:_SHOWN], hint=_hint(name[:_SHOWN]))
    options = {name: _validated(name, value) for name, value in given.items() if name in _WHISPERS}
    if options.get("patience") is not None and options.get("beam_size") is None:
        raise BadOption(name="patience", reason="it needs beam_size")
    if given.get("file_path") is None:
        raise BadOption(name="file_path", reason="it is missing, and says what to transcribe")
    own = {name: _validated(name, value) for name, value in given.items() if name in _OWN and value is not None}
    _check_subtitle_options(own)
    fleets = {name: getattr(defaults, setting) for name, setting in _SET_BY_THE_FLEET.items()}
    return TranscribeRequest(**{**fleets, **own}, options=options)


def _check_subtitle_options(own: Mapping[str, Any]) -> None:
    """Raise BadOption for what whisper's command line refuses, too, and for subtitles of unlimited size.

    Only words with times can be divided into lines. A highlighted subtitle is repeated once per word in it.
    """
    for name in _SUBTITLE_OPTIONS:
        if own.get(name) and not own.get("word_timestamps"):
            raise BadOption(name=name, reason="it needs word_timestamps=true")
    characters = (own.get("max_line_width") or 0) * (own.get("max_line_count") or 0)
    if own.get("highlight_words") and characters > _HIGHLIGHTED_CHARACTERS:
        reason = f"with highlight_words, a subtitle may have {_HIGHLIGHTED_CHARACTERS} characters, not {characters}"
        raise BadOption(name="max_line_count", reason=reason)


def describe_options() -> list[FieldDoc]:
    """Return every option of `transcribe` in words: the fleet's, then whisper's."""
    own = [field for field in describe(TranscribeRequest) if field.name in _OWN]
    return [_with_fleets_default(field) for field in own] + [
        replace(field, is_whispers=True) for field in describe(WhisperOptions)
    ]


def _with_fleets_default(field: FieldDoc) -> FieldDoc:
    setting = _SET_BY_THE_FLEET.get(field.name)
    return field if setting is None else replace(field, default=f"WHISPER_FLEET_{setting.upper()}")


def as_keywords(request: TranscribeRequest) -> dict[str, Any]:
    """Return the keyword arguments that make this request again."""
    fields = request.model_dump(mode="json", exclude_none=True)
    options = fields.pop("options")
    return {**fields, **options}


def as_shown(request: TranscribeRequest) -> str:
    """Return what Flower and the events show in place of a request's keywords: its file, without the directory."""
    return repr({"file": file_name(request.file_path), "model": file_name(request.model_name)})


def is_whisper_option(name: str, value: Any) -> bool:
    """Return whether it is an option of whisper's that may have this value."""
    try:
        _ADAPTERS[name].validate_python(value)
    except (KeyError, ValidationError):
        return False
    return name in _WHISPERS


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), list(_ADAPTERS), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _validated(name: str, value: Any) -> Any:
    try:
        return _ADAPTERS[name].validate_python(value)
    except ValidationError as error:
        raise _request_error(name, value, error.errors()[0]) from None


def _request_error(name: str, value: Any, error: ErrorDetails) -> RequestError:
    """Return the error that names the option, its value and what is wrong with it."""
    shown = _shown(value)
    if name == "priority":
        first, last = _limits(_OWN[name])
        return BadPriority(priority=shown, first=first, last=last)
    if name in _WHISPERS:
        return BadOption(name=name, reason=f"{shown}: {error['msg']}")
    if name == "language" and error["type"] == REASON:
        return UnknownLanguage(language=shown)
    return BadOption(name=name, reason=_reason(_OWN[name], value, error))


def _reason(field: FieldInfo, value: Any, error: ErrorDetails) -> str:
    shown, kind = _shown(value), error["type"]
    if kind == REASON:
        return f"{shown} {error['msg']}"
    if get_origin(field.annotation) is Literal:
        return f"{shown} is none of {', '.join(get_args(field.annotation))}"
    is_too_large = kind == "float_type" and isinstance(value, int) and not isinstance(value, bool)
    if kind in _REASONS and not is_too_large:
        return f"{shown} {_REASONS[kind]}"
    return _out_of_range(field, shown)


def _out_of_range(field: FieldInfo, shown: str) -> str:
    least, most = _limits(field)
    unit = f" {field.json_schema_extra['unit']}" if isinstance(field.json_schema_extra, dict) else ""
    return f"{shown}{unit} is not between {least} and {most}{unit}"


def _limits(field: FieldInfo) -> tuple[Any, Any]:
    """Return the least and the greatest value of a number."""
    limits = {
        name: getattr(limit, name, None) for limit in field.metadata for name in ("ge", "le") if hasattr(limit, name)
    }
    return limits["ge"], limits["le"]


def _shown(value: Any) -> str:
    """Return as much of a value as helps to find it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
