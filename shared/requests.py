"""From a client's keyword arguments to a TranscribeRequest, or the RequestError that says what to mend.

Pure: what only Whisper knows (its languages) and what only a fleet knows (its defaults) is passed in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from whisper_fleet.shared.errors import BadOption, BadPriority, UnknownLanguage, UnknownOption
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.models import Precision
from whisper_fleet.shared.wire import TranscribeRequest

#: Characters of a wrong value that its error repeats.
_SHOWN = 100

_TOKEN = re.compile(r"<\|(endoftext|startof[a-z]+|translate|transcribe|nospeech|notimestamps|[a-z]{2,3}|\d+\.\d\d)\|>")


def _no_token(text: str) -> str:
    """Whisper's tokenizer refuses these in a text, once a window is to be decoded."""
    if found := _TOKEN.search(text):
        raise PydanticCustomError("token", f"{found[0]} is a token of Whisper's own, and no text")
    return text


_Positive = Annotated[int, Field(strict=True, ge=1)]
_Rows = Annotated[int, Field(strict=True, ge=1, le=16)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Share = Annotated[float, Field(strict=True, ge=0, le=1)]
_Flag = Annotated[bool, Field(strict=True)]
_Text = Annotated[str, StringConstraints(strict=True, max_length=10_000)]
_Spoken = Annotated[_Text, AfterValidator(_no_token)]
_Numbers = Annotated[str, StringConstraints(strict=True, max_length=10_000, pattern=r"^\s*(-?\d+\s*(,\s*-?\d+\s*)*)?$")]
# More than any model has.
_Tokens = Annotated[list[Annotated[int, Field(strict=True, ge=-1)]], Field(max_length=52_000)]

#: The arguments of whisper.transcribe() that a job may set beside the request's own fields. Not among them:
#: what the fleet decides (fp16, verbose) and what contradicts its cutting (clip_timestamps, prompt).
WHISPER_OPTIONS: dict[str, TypeAdapter[Any]] = {
    "temperature": TypeAdapter(_Share | Annotated[list[_Share], Field(min_length=1, max_length=10)]),
    "compression_ratio_threshold": TypeAdapter(_Number | None),
    "logprob_threshold": TypeAdapter(_Number | None),
    "no_speech_threshold": TypeAdapter(_Share | None),
    "condition_on_previous_text": TypeAdapter(_Flag),
    "initial_prompt": TypeAdapter(_Spoken | None),
    "carry_initial_prompt": TypeAdapter(_Flag),
    "prepend_punctuations": TypeAdapter(_Text),
    "append_punctuations": TypeAdapter(_Text),
    "hallucination_silence_threshold": TypeAdapter(Annotated[_Number, Field(ge=0)] | None),
    "sample_len": TypeAdapter(Annotated[int, Field(strict=True, ge=1, le=448)] | None),
    "best_of": TypeAdapter(_Rows | None),
    "beam_size": TypeAdapter(_Rows | None),
    "patience": TypeAdapter(Annotated[_Number, Field(gt=0)] | None),
    "length_penalty": TypeAdapter(_Share | None),
    "prefix": TypeAdapter(_Spoken | None),
    "suppress_tokens": TypeAdapter(_Numbers | _Tokens | None),
    "suppress_blank": TypeAdapter(_Flag),
    "without_timestamps": TypeAdapter(_Flag),
    "max_initial_timestamp": TypeAdapter(Annotated[_Number, Field(ge=0, le=30)] | None),
}
_OWN_FIELDS = tuple(name for name in TranscribeRequest.model_fields if name != "options")
_GPU_ID = re.compile(r"\d+|[A-Za-z0-9_-]+[:.]\d+|(GPU|MIG)-[A-Za-z0-9/-]+|cpu")


@dataclass(frozen=True, kw_only=True)
class FleetDefaults:
    """What a fleet takes a request to mean."""

    default_model: str
    default_precision: Precision
    segment_duration: float
    #: whisper's language codes, and names that stand for them; None: not known here, so not checked.
    languages: Mapping[str, str] | None = field(default=None)


def parse_request(asked: Mapping[str, Any], known: FleetDefaults) -> TranscribeRequest:
    """The request that these keyword arguments make; a RequestError names the first that is wrong."""
    for name in asked:
        if name not in _OWN_FIELDS and name not in WHISPER_OPTIONS:
            raise UnknownOption(name=name[:_SHOWN], hint=_hint(name[:_SHOWN]))
    given = {name: value for name, value in asked.items() if value is not None}
    options = {name: _checked(name, value) for name, value in asked.items() if name in WHISPER_OPTIONS}
    if options.get("patience") is not None and options.get("beam_size") is None:
        raise BadOption(name="patience", reason="it needs beam_size")
    readers: dict[str, Callable[[Any], Any]] = {
        "file_path": _text("file_path"),
        "model_name": _text("model_name"),
        "language": lambda value: _language(value, known.languages),
        "output_path": _output_path,
        "formats": _formats,
        "gpu_ids": _gpu_ids,
        "priority": _priority,
        "tenant": _text("tenant", empty=True),
        "segment_duration": _segment_duration,
        "precision": _one_of("precision", get_args(Precision)),
        "task": _one_of("task", ("transcribe", "translate")),
        "word_timestamps": _flag("word_timestamps"),
        "callback_url": _callback_url,
    }
    defaults = {
        "model_name": known.default_model,
        "precision": known.default_precision,
        "segment_duration": known.segment_duration,
    }
    if "file_path" not in given:
        raise BadOption(name="file_path", reason="it is missing, and says what to transcribe")
    own = {name: readers[name](value) for name, value in given.items() if name in readers}
    return TranscribeRequest(**{**defaults, **own}, options=options)


def as_keywords(request: TranscribeRequest) -> dict[str, Any]:
    """The keyword arguments that make this request again."""
    fields = request.model_dump(mode="json", exclude_none=True)
    options = fields.pop("options")
    return {**fields, **options}


def takes(name: str, value: Any) -> bool:
    """Whether it is an option of Whisper's that may have this value."""
    try:
        WHISPER_OPTIONS[name].validate_python(value)
    except (KeyError, ValidationError):
        return False
    return True


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), [*_OWN_FIELDS, *WHISPER_OPTIONS], n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _shown(value: Any) -> str:
    """As much of a value as helps to find it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _checked(name: str, value: Any) -> Any:
    try:
        return WHISPER_OPTIONS[name].validate_python(value)
    except ValidationError as error:
        raise BadOption(name=name, reason=f"{_shown(value)}: {error.errors()[0]['msg']}") from None


def _text(name: str, *, empty: bool = False) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not (value or empty) or len(value) > 4096:
            raise BadOption(name=name, reason=f"{_shown(value)} is not a text")
        try:
            value.encode()
        except UnicodeEncodeError:  # as Python gives file names of another encoding
            raise BadOption(name=name, reason=f"{_shown(value)} cannot be written in UTF-8") from None
        return value

    return read


def _one_of(name: str, choices: Iterable[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise BadOption(name=name, reason=f"{_shown(value)} is none of {', '.join(choices)}")
        return str(value)

    return read


def _flag(name: str) -> Callable[[Any], bool]:
    def read(value: Any) -> bool:
        if not isinstance(value, bool):
            raise BadOption(name=name, reason=f"{_shown(value)} is neither true nor false")
        return value

    return read


def _language(value: Any, languages: Mapping[str, str] | None) -> str | None:
    if value in ("", "auto"):
        return None
    if not isinstance(value, str):
        raise UnknownLanguage(language=_shown(value))
    if languages is None:
        return _text("language")(value).lower()
    code = languages.get(value.lower())
    if code is None:
        raise UnknownLanguage(language=_shown(value))
    return code


def _output_path(value: Any) -> str:
    path = _text("output_path")(value)
    if not path.startswith("/") or "\0" in path:
        raise BadOption(name="output_path", reason=f"{_shown(path)} is no absolute path on the fleet's machines")
    return path


def _formats(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if names == ["all"]:
        return FORMATS
    if not isinstance(names, list | tuple) or not names or any(name not in FORMATS for name in names):
        raise BadOption(name="formats", reason=f"{_shown(value)} is not a list of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def _gpu_ids(value: Any) -> tuple[str, ...]:
    ids = value.split(",") if isinstance(value, str) else value
    ids = [ids] if isinstance(ids, int) else ids
    if not isinstance(ids, list | tuple) or not all(_is_gpu_id(gpu_id) for gpu_id in ids):
        reason = f"{_shown(value)} is not a list of indices, host:index or UUIDs"
        raise BadOption(name="gpu_ids", reason=reason)
    return tuple(dict.fromkeys(str(gpu_id).strip() for gpu_id in ids))


def _is_gpu_id(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    return _GPU_ID.fullmatch(str(value).strip()) is not None


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 9:
        raise BadPriority(priority=_shown(value))
    return value


def _segment_duration(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadOption(name="segment_duration", reason=f"{_shown(value)} is not a number of seconds")
    if not 30 <= value <= 3600:
        raise BadOption(name="segment_duration", reason=f"{_shown(value)} s is not between 30 and 3600 s")
    return float(value)


def _callback_url(value: Any) -> str:
    url = _text("callback_url")(value)
    if not re.fullmatch(r"https?://[^\s/]+\S*", url):
        raise BadOption(name="callback_url", reason=f"{_shown(url)} is no http or https address")
    return url
