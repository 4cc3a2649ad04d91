"""How the values of options are read: what a client sends, made into what the fleet keeps, or the reason why not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from whisper_fleet.shared.files.buckets import is_bucket
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.request.languages import LANGUAGE_CODES
from whisper_fleet.shared.serialization import WRITTEN_BY_THE_FLEET

#: The type of an error whose message is the reason for a person: "<value> <message>".
REASON = "reason"

_TOKEN = re.compile(r"<\|(endoftext|startof[a-z]+|translate|transcribe|nospeech|notimestamps|[a-z]{2,3}|\d+\.\d\d)\|>")
#: The dispatcher compares them with every GPU in every pass.
MOST_GPU_IDS = 64
_LONGEST_GPU_ID = 128
#: Characters of a tenant's name: the ledger keeps it per waiting job, and per tenant.
LONGEST_TENANT = 255
#: The limits of OpenAI's metadata.
MOST_LABELS, _LONGEST_LABEL_NAME, _LONGEST_LABEL = 16, 64, 512
_GPU_ID = re.compile(r"\d+|[A-Za-z0-9_-]+[:.]\d+|(GPU|MIG)-[A-Za-z0-9/-]+|cpu")


def _wrong(reason: str) -> PydanticCustomError:
    return PydanticCustomError(REASON, "{reason}", {"reason": reason})


class WhenSent:
    """Check what a client sends, and leave alone what the ledger returns: a newer version may have written it."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def __call__(self, value: Any, info: ValidationInfo) -> Any:
        return value if info.context is WRITTEN_BY_THE_FLEET else self._read(value)


def read_labels(value: Any) -> dict[str, str]:
    """Return labels, which come as an object, or as text: name=value,name=value."""
    labels = dict(part.partition("=")[::2] for part in value.split(",") if part) if isinstance(value, str) else value
    if not isinstance(labels, dict) or not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise _wrong("is not a list of labels, name=value")
    if len(labels) > MOST_LABELS:
        raise _wrong(f"has {len(labels)} labels, at most {MOST_LABELS}")
    if any(not name or len(name) > _LONGEST_LABEL_NAME or len(text) > _LONGEST_LABEL for name, text in labels.items()):
        raise _wrong(f"has a name above {_LONGEST_LABEL_NAME} characters, or a text above {_LONGEST_LABEL}")
    return labels


def read_language(value: Any) -> str | None:
    if value in ("", "auto", None):
        return None
    code = LANGUAGE_CODES.get(value.lower()) if isinstance(value, str) else None
    if code is None:
        raise _wrong("is not a language")
    return code


def output_address(place: str | None) -> str | None:
    if place is not None and "\0" in place:
        raise _wrong("holds a NUL character")
    if place is not None and not place.startswith("/") and not is_bucket(place):
        raise _wrong("is neither an absolute path on the fleet's machines nor an address in a bucket")
    return place


def no_nul(text: str) -> str:
    """Refuse what no operating system takes as a part of a path."""
    if "\0" in text:
        raise _wrong("holds a NUL character")
    return text


def web_address(url: str | None) -> str | None:
    if url is not None and not re.fullmatch(r"https?://[^\s/]+\S*", url):
        raise _wrong("is no http or https address")
    return url


def read_formats(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if names == ["all"]:
        return FORMATS
    if not isinstance(names, list | tuple) or not names or any(name not in FORMATS for name in names):
        raise _wrong(f"is not a list of {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def read_gpu_ids(value: Any) -> tuple[str, ...]:
    ids = value.split(",") if isinstance(value, str) else value
    ids = [ids] if isinstance(ids, int) else ids
    if isinstance(ids, list | tuple) and len(ids) > MOST_GPU_IDS:
        raise _wrong(f"has {len(ids)} entries, at most {MOST_GPU_IDS}")
    if not isinstance(ids, list | tuple) or not all(map(_is_gpu_id, ids)):
        raise _wrong("is not a list of indices, host:index or UUIDs")
    return tuple(dict.fromkeys(str(gpu_id).strip() for gpu_id in ids))


def _is_gpu_id(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    if isinstance(value, int):
        return 0 <= value < 10_000
    return len(value) <= _LONGEST_GPU_ID and _GPU_ID.fullmatch(value.strip()) is not None


def check_tenant(name: str) -> str:
    if len(name) > LONGEST_TENANT:
        raise _wrong(f"has {len(name)} characters, at most {LONGEST_TENANT}")
    return name


def read_channel(value: Any) -> str | None:
    """Return a channel as "left", "right" or the digits of its index; None for the mix of all."""
    text = str(value).strip().lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if value is None or text == "mix":
        return None
    if text not in ("left", "right") and not re.fullmatch(r"[0-9]{1,2}", text):
        raise _wrong("is none of mix, left, right, and the index of a channel, of which 0 is the first")
    return text


def no_token(text: str) -> str:
    """Refuse what whisper's tokenizer would refuse later, when a window is decoded."""
    if found := _TOKEN.search(text):
        raise PydanticCustomError("token", f"{found[0]} is a token of Whisper's own, and no text")
    return text
