"""The messages between a node and its engine: frozen wire types, without torch.

A frame consists of the two lengths of PREFIX, one wire type as JSON (`kind` names the type) and at most one tensor
as raw bytes; `framing` builds and reads them. A client sends a request and reads exactly one reply. Closing the
connection cancels the request in flight.
"""

from __future__ import annotations

import struct
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from whisper_fleet.shared.models import Form, ModelDims, Precision
from whisper_fleet.shared.wire import Wire

#: The sizes of the JSON and of the tensor that follow, in bytes, big-endian.
PREFIX = struct.Struct("!II")
MAX_JSON_BYTES = 4 << 20
MAX_TENSOR_BYTES = 64 << 20

_Size = Annotated[int, Field(ge=0, le=MAX_TENSOR_BYTES)]


class _Frame(Wire):
    model_config = ConfigDict(ser_json_inf_nan="constants")


class TensorSpec(_Frame):
    """The type and shape of the tensor whose bytes follow the JSON."""

    dtype: Literal["float16", "bfloat16", "float32"]
    shape: tuple[_Size, _Size]  # either may be 0, as in the matrix of a window shorter than a frame


class Open(_Frame):
    """The first request of a session: load the model if it is not loaded."""

    kind: Literal["open"] = "open"
    model: str  # a name in the model directory, or the absolute path of a checkpoint
    precision: Literal["float16", "bfloat16", "float32"]


class Decode(_Frame):
    """Decode one window as `whisper.decode` would. Without a tensor, it means the last window sent."""

    kind: Literal["decode"] = "decode"
    task: str
    language: str | None = None
    temperature: float
    sample_len: int | None = None
    best_of: int | None = None
    beam_size: int | None = None
    patience: float | None = None
    length_penalty: float | None = None
    prompt: str | list[int] | None = None
    prefix: str | list[int] | None = None
    suppress_tokens: str | list[int] | None = None
    suppress_blank: bool
    without_timestamps: bool
    max_initial_timestamp: float | None = None
    tensor: TensorSpec | None = None  # mel [n_mels, 3000]


class DetectLanguage(_Frame):
    """Detect the language of one window. Without a tensor, it means the last window sent."""

    kind: Literal["detect_language"] = "detect_language"
    tensor: TensorSpec | None = None  # mel [n_mels, 3000]


class Align(_Frame):
    """Align the tokens of a text with one window. Without a tensor, it means the last window sent."""

    kind: Literal["align"] = "align"
    text_tokens: list[int]
    num_frames: int  # mel frames of speech in the window
    language: str | None = None
    task: str | None = None
    medfilt_width: int
    qk_scale: float
    tensor: TensorSpec | None = None  # mel [n_mels, 3000]


class AskStats(_Frame):
    """Request EngineStats; this needs no open session."""

    kind: Literal["ask_stats"] = "ask_stats"


class Resize(_Frame):
    """Set the number of slots; this needs no open session."""

    kind: Literal["resize"] = "resize"
    slots: int = Field(ge=0)


class Opened(_Frame):
    """The model of the session that was opened."""

    kind: Literal["opened"] = "opened"
    dims: dict[str, int]  # whisper's ModelDimensions
    alignment_heads: list[tuple[int, int]]  # (layer, head)
    precision: Literal["float16", "bfloat16", "float32"]  # of the model's arithmetic


class Decoded(_Frame):
    """The result of `whisper.decode`, without the audio features."""

    kind: Literal["decoded"] = "decoded"
    language: str
    language_probs: dict[str, float] | None = None
    tokens: list[int] = Field(default_factory=list)
    text: str = ""
    avg_logprob: float = float("nan")
    no_speech_prob: float = float("nan")
    temperature: float = float("nan")
    compression_ratio: float = float("nan")


class Language(_Frame):
    """The result of `whisper.detect_language` for one window."""

    kind: Literal["language"] = "language"
    token: int
    probs: dict[str, float]  # by language code


class Aligned(_Frame):
    """What word timestamps are computed from; the tensor is `matrix` [text tokens + 1, frames], float32."""

    kind: Literal["aligned"] = "aligned"
    text_token_probs: list[float]
    tensor: TensorSpec


class EngineStats(_Frame):
    """The load, rates and memory of the engine; rates and shares are over the last ten seconds."""

    kind: Literal["stats"] = "stats"
    pid: int
    device: str  # "cuda" or "cpu"
    slots: int  # windows that may be in progress at once
    rows_live: int
    rows_waiting: int  # requests that have no row yet
    windows_per_s: float
    times_realtime: float
    tokens_per_s: float
    share_encode: float  # of the time, 0 to 1, that was spent on encoding audio
    share_prefill: float  # on reading prompts
    share_decode: float  # on decode steps
    share_idle: float
    memory_bytes: dict[str, int]  # by part
    models: tuple[str, ...]  # loaded, as "name/precision"
    dims: dict[str, ModelDims] = Field(default_factory=dict)  # of the loaded models, by name
    forms: dict[Precision, Form]  # of cross-attention, that this engine uses
    uuid: str | None = None  # of the GPU, as NVML writes it; None on a CPU
    name: str | None = None  # of the GPU or CPU
    total_bytes: int | None = None  # memory of the GPU; None on a CPU
    free_bytes: int | None = None


class Done(_Frame):
    """The request was carried out."""

    kind: Literal["done"] = "done"


class WindowGone(_Frame):
    """The engine no longer holds the session's last window, which must be sent again."""

    kind: Literal["window_gone"] = "window_gone"


class Failed(_Frame):
    """The request failed; `error` is the name of a class in whisper_fleet.shared.errors."""

    kind: Literal["failed"] = "failed"
    error: str
    message: str


Request = Open | Decode | DetectLanguage | Align | AskStats | Resize
Reply = Opened | Decoded | Language | Aligned | EngineStats | Done | WindowGone | Failed
_requests: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
_replies: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])


def read_request(text: bytes | bytearray | memoryview) -> Request:
    """Return the request in a frame's JSON; pydantic's ValidationError if it is not a request."""
    return _requests.validate_json(bytes(text))


def read_reply(text: bytes | bytearray | memoryview) -> Reply:
    """Return the reply in a frame's JSON; pydantic's ValidationError if it is not a reply.

    Unknown fields are ignored, because an engine that restarts during an upgrade is newer than its node.
    """
    return _replies.validate_json(bytes(text), extra="ignore")
