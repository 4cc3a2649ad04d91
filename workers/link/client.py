"""The client of an engine: blocking calls with typed errors, over one connection per running segment."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult

from whisper_fleet.shared import errors
from whisper_fleet.shared.errors import EngineDied, EngineError
from whisper_fleet.shared.models import ModelDims, Precision
from whisper_fleet.workers.link import framing, protocol
from whisper_fleet.workers.link.decode_options import request_of
from whisper_fleet.workers.link.protocol import (
    PREFIX,
    Align,
    Aligned,
    AskStats,
    Decoded,
    DetectLanguage,
    Done,
    EngineStats,
    Failed,
    Language,
    Open,
    Opened,
    Reply,
    Request,
    Resize,
    WindowGone,
)

ReplyT = TypeVar("ReplyT", bound=Reply)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What word timestamps are computed from: the state of `find_alignment` (whisper/timing.py) before its DTW."""

    matrix: Tensor  # [text tokens + 1, frames], float32
    text_token_probs: list[float]


class EngineClient:
    """A client of one engine. It is thread-safe and holds no connection between calls."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def session(self, model: str, precision: Precision) -> EngineSession:
        """Open a session for one segment; the engine loads the model if necessary, which may take seconds.

        Raises EngineDied if the engine cannot be reached, ModelUnavailable if it cannot load the model, and
        EngineOutOfMemory if the model does not fit.
        """
        return EngineSession(_Connection(self._path), model, precision)

    def stats(self) -> EngineStats:
        """Return the engine's load, rates and memory; EngineDied if it cannot be reached."""
        with _Connection(self._path) as connection:
            return connection.request(AskStats(), EngineStats)[0]

    def resize(self, slots: int) -> None:
        """Set how many windows the engine may work on at once; EngineDied if it cannot be reached."""
        with _Connection(self._path) as connection:
            connection.request(Resize(slots=slots), Done)


class EngineSession:
    """The connection of one segment, for one thread. Closing it cancels the request in flight.

    Every request raises EngineDied if the connection breaks, and otherwise the EngineError that the engine reports.
    """

    def __init__(self, connection: _Connection, model: str, precision: Precision) -> None:
        self._connection = connection
        self._last_mel: Tensor | None = None  # the engine still holds its encoding
        try:
            opened, _ = connection.request(Open(model=model, precision=precision), Opened)
        except BaseException:
            connection.close()
            raise
        self._dtype = getattr(torch, opened.precision)
        self.precision = opened.precision
        self.dims = ModelDims(**opened.dims)
        self.alignment_heads = _head_mask(self.dims.n_text_layer, self.dims.n_text_head, tuple(opened.alignment_heads))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session, so that the engine frees its rows. It may be called repeatedly and from any thread."""
        self._connection.close()

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        """Decode one window, mel [n_mels, 3000], as `whisper.decode` does; the result has no audio features."""
        decoded = self._request_for(mel, request_of(options), Decoded)[0]
        return DecodingResult(audio_features=torch.empty(0), **decoded.model_dump(exclude={"kind"}))

    def detect_language(self, mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Detect the language of one window, mel [n_mels, 3000], as `whisper.detect_language` does.

        Returns the token of the language and the probability of every language code.
        """
        language = self._request_for(mel, DetectLanguage(), Language)[0]
        return torch.tensor(language.token), language.probs

    def align(
        self,
        mel: Tensor,
        text_tokens: list[int],
        num_frames: int,
        *,
        language: str | None,
        task: str | None,
        medfilt_width: int = 7,
        qk_scale: float = 1.0,
    ) -> Alignment:
        """Align the text tokens with one window, mel [n_mels, 3000], of which `num_frames` frames are speech."""
        request = Align(
            text_tokens=text_tokens,
            num_frames=num_frames,
            language=language,
            task=task,
            medfilt_width=medfilt_width,
            qk_scale=qk_scale,
        )
        aligned, matrix = self._request_for(mel, request, Aligned)
        if matrix is None:
            raise EngineDied
        return Alignment(matrix=matrix, text_token_probs=aligned.text_token_probs)

    def _request_for(self, mel: Tensor, request: Request, expected: type[ReplyT]) -> tuple[ReplyT, Tensor | None]:
        """Send a request about a window; the window itself is sent only if the engine does not hold it."""
        if self._is_last(mel):
            reply, tensor = self._connection.exchange(request, None)
            if not isinstance(reply, WindowGone):
                return _expect(reply, expected), tensor
        self._last_mel = None
        sent = mel.detach().to(device="cpu", dtype=self._dtype)
        request = request.model_copy(update={"tensor": framing.spec_of(sent)})
        reply, tensor = self._connection.exchange(request, sent)
        self._last_mel = mel
        return _expect(reply, expected), tensor

    def _is_last(self, mel: Tensor) -> bool:
        """Return whether the mel is the last one sent, by value.

        Whisper detects the language on the first window, then passes the same values in another tensor to decode.
        """
        if self._last_mel is None or mel is self._last_mel:
            return mel is self._last_mel
        return mel.shape == self._last_mel.shape and torch.equal(mel, self._last_mel)


class _Connection:
    """One connection to an engine, used for one request at a time; any failure of it raises EngineDied."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise EngineDied from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the engine may have closed the connection already
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes up a thread that waits for a reply
        self._socket.close()

    def request(self, request: Request, expected: type[ReplyT]) -> tuple[ReplyT, Tensor | None]:
        """Send a request without a tensor, and return its reply; raises the error that the engine reports."""
        reply, tensor = self.exchange(request, None)
        return _expect(reply, expected), tensor

    def exchange(self, request: Request, tensor: Tensor | None) -> tuple[Reply, Tensor | None]:
        """Send a request, and return its reply of any type."""
        try:
            self._send(framing.frame(request, tensor))
            json_bytes, tensor_bytes = PREFIX.unpack(self._receive(PREFIX.size))
            reply = protocol.read_reply(self._receive(json_bytes))
            raw = self._receive(tensor_bytes)
        except OSError as error:
            raise EngineDied from error
        spec = getattr(reply, "tensor", None)
        return reply, framing.read_tensor(spec, torch.from_numpy(np.asarray(raw))) if spec else None

    def _send(self, parts: Iterable[bytes | memoryview]) -> None:
        for part in parts:
            self._socket.sendall(part)

    def _receive(self, size: int) -> bytearray:
        received = bytearray(size)
        missing = memoryview(received)
        while missing:
            count = self._socket.recv_into(missing)
            if count == 0:
                raise ConnectionResetError("the engine closed the connection")
            missing = missing[count:]
        return received


def _expect(reply: Reply, expected: type[ReplyT]) -> ReplyT:
    """Return a reply of the expected type; raises the error that a `Failed` reply carries."""
    if isinstance(reply, Failed):
        error_type = getattr(errors, reply.error, EngineError)
        raise error_type(reply.message)
    if not isinstance(reply, expected):
        raise EngineError(f"The engine replied {reply.kind!r} where {expected.__name__} was expected.")
    return reply


@lru_cache(maxsize=32)  # every segment needs it, and a model without its own table has hundreds of heads
def _head_mask(layers: int, heads_per_layer: int, heads: tuple[tuple[int, int], ...]) -> Tensor:
    """Return the alignment heads as whisper stores them: a sparse boolean mask [layers, heads]."""
    mask = torch.zeros(layers, heads_per_layer, dtype=torch.bool)
    for layer, head in heads:
        mask[layer, head] = True
    return mask.to_sparse()
