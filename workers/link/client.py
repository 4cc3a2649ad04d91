"""How the node talks to its engine: one connection a running segment, blocking calls, typed errors."""

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
from whisper.model import ModelDimensions

from whisper_fleet.shared import errors
from whisper_fleet.shared.errors import EngineDied, EngineError
from whisper_fleet.shared.models import Precision
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
    """The evidence for word times, as whisper.timing.find_alignment computes it before its DTW."""

    matrix: Tensor  # [text tokens + 1, frames], float32
    text_token_probs: list[float]


class EngineClient:
    """The way to one engine; thread-safe, holds no connection of its own."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def session(self, model: str, precision: Precision) -> EngineSession:
        """A session of one segment; loads the model if need be, which may take seconds."""
        return EngineSession(_Wire(self._path), model, precision)

    def stats(self) -> EngineStats:
        """What the engine does and holds."""
        with _Wire(self._path) as wire:
            return wire.ask(AskStats(), EngineStats)[0]

    def resize(self, slots: int) -> None:
        """Tell the engine how many windows it may work on at once."""
        with _Wire(self._path) as wire:
            wire.ask(Resize(slots=slots), Done)

    def close(self) -> None:
        """Nothing is held between calls."""


class EngineSession:
    """One segment's connection, used by one thread; closing it drops whatever it asked for."""

    def __init__(self, wire: _Wire, model: str, precision: Precision) -> None:
        self._wire = wire
        self._sent: Tensor | None = None  # the mel that the engine holds the encoding of
        try:
            opened, _ = wire.ask(Open(model=model, precision=precision), Opened)
        except BaseException:
            wire.close()
            raise
        self._dtype = getattr(torch, opened.precision)
        self.precision = opened.precision
        self.dims = ModelDimensions(**opened.dims)
        self.alignment_heads = _sparse(self.dims.n_text_layer, self.dims.n_text_head, tuple(opened.alignment_heads))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the session's row; from any thread, more than once if you like."""
        self._wire.close()

    @property
    def is_multilingual(self) -> bool:
        return bool(self.dims.n_vocab >= 51865)

    @property
    def num_languages(self) -> int:
        return int(self.dims.n_vocab - 51765 - self.is_multilingual)

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        """`whisper.decode` of one window, mel [n_mels, 3000]; the result carries no audio features."""
        decoded = self._ask_about(mel, request_of(options), Decoded)[0]
        return DecodingResult(audio_features=torch.empty(0), **decoded.model_dump(exclude={"kind"}))

    def detect_language(self, mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        """`whisper.detect_language` of one window: the language's token and all probabilities."""
        language = self._ask_about(mel, DetectLanguage(), Language)[0]
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
        """When each token was spoken, for whisper.timing.find_alignment's DTW."""
        request = Align(
            text_tokens=text_tokens,
            num_frames=num_frames,
            language=language,
            task=task,
            medfilt_width=medfilt_width,
            qk_scale=qk_scale,
        )
        aligned, matrix = self._ask_about(mel, request, Aligned)
        if matrix is None:
            raise EngineDied
        return Alignment(matrix=matrix, text_token_probs=aligned.text_token_probs)

    def _ask_about(self, mel: Tensor, request: Request, expected: type[ReplyT]) -> tuple[ReplyT, Tensor | None]:
        """Ask about a window, which travels only if the engine does not hold it."""
        if self._holds(mel):
            reply, tensor = self._wire.exchange(request, None)
            if not isinstance(reply, WindowGone):
                return _checked(reply, expected), tensor
        self._sent = None
        sent = mel.detach().to(device="cpu", dtype=self._dtype)
        request = request.model_copy(update={"tensor": framing.spec_of(sent)})
        reply, tensor = self._wire.exchange(request, sent)
        self._sent = mel
        return _checked(reply, expected), tensor

    def _holds(self, mel: Tensor) -> bool:
        """Language detection and the first window of a long file are equal but not the same object."""
        if self._sent is None or mel is self._sent:
            return mel is self._sent
        return mel.shape == self._sent.shape and torch.equal(mel, self._sent)


class _Wire:
    """One connection: send a request, read its reply; every break is EngineDied."""

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
        with contextlib.suppress(OSError):  # the engine may have closed it first
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a reply
        self._socket.close()

    def ask(self, request: Request, expected: type[ReplyT]) -> tuple[ReplyT, Tensor | None]:
        reply, tensor = self.exchange(request, None)
        return _checked(reply, expected), tensor

    def exchange(self, request: Request, tensor: Tensor | None) -> tuple[Reply, Tensor | None]:
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
        rest = memoryview(received)
        while rest:
            count = self._socket.recv_into(rest)
            if count == 0:
                raise ConnectionResetError("the engine closed the connection")
            rest = rest[count:]
        return received


def _checked(reply: Reply, expected: type[ReplyT]) -> ReplyT:
    if isinstance(reply, Failed):
        kind = getattr(errors, reply.error, EngineError)
        raise kind(reply.message)
    if not isinstance(reply, expected):
        raise EngineError(f"The engine answered {reply.kind!r} where {expected.__name__} was expected.")
    return reply


@lru_cache(maxsize=32)  # of a model that does not name its own they are half of all, and every segment asks
def _sparse(layers: int, heads_a_layer: int, heads: tuple[tuple[int, int], ...]) -> Tensor:
    """Whisper keeps its alignment heads as a sparse mask [layers, heads]."""
    mask = torch.zeros(layers, heads_a_layer, dtype=torch.bool)
    for layer, head in heads:
        mask[layer, head] = True
    return mask.to_sparse()
