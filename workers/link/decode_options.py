"""Whisper's decoding options as a request, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whisper.decoding import DecodingOptions

from whisper_fleet.workers.link.protocol import Decode


def request_of(options: DecodingOptions) -> Decode:
    """Return the request, still without a window, that carries the options; `fp16` stays behind."""
    fields: dict[str, Any] = {name: _as_list(value) for name, value in vars(options).items() if name != "fp16"}
    return Decode(**fields)


def options_of(request: Decode) -> DecodingOptions:
    """Return whisper's options that a request carries."""
    return DecodingOptions(**request.model_dump(exclude={"kind", "tensor"}))


def _as_list(value: Any) -> Any:
    """Return an iterable of tokens, such as a tuple or an array, as a list of integers that JSON can hold."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [int(token) for token in value]
    return value
