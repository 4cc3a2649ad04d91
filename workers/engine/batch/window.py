"""The requests in flight: sessions, and the windows that they wait for. Only the batcher changes either."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.link.protocol import Align, Decode, DetectLanguage, Reply


class Stage(Enum):
    """WAITING -> ENCODING -> READY -> DECODING -> DONE; language detection and alignment skip DECODING."""

    WAITING = "waiting"  # its audio is not encoded yet
    ENCODING = "encoding"  # its audio is being encoded
    READY = "ready"  # its audio is encoded; a prompt or an alignment comes next
    DECODING = "decoding"  # its rows are in the batch
    DONE = "done"


@dataclass(eq=False, kw_only=True)
class Session:
    """One running segment: it has at most one window in flight and keeps the last window's encoding."""

    number: int
    cache_slot: int | None = None  # of the cache; holds the last window's encoding, or will hold it
    fingerprint: int = 0  # of the last window's audio
    window: Window | None = None  # the one in flight

    @property
    def is_encoded(self) -> bool:
        """Whether the cache holds the encoding of the session's last window."""
        if self.window is not None:
            return self.window.stage in (Stage.READY, Stage.DECODING)
        return self.cache_slot is not None


@dataclass(eq=False, kw_only=True)
class Window:
    """One request about 30 s of audio, from its arrival to its reply."""

    session: Session
    request: Decode | DetectLanguage | Align
    future: Future[tuple[Reply, Any]]  # the reply and the tensor that goes with it
    audio: Any = None  # what there is to encode, until its encoding begins; the batch never looks at it
    fingerprint: int = 0  # of the audio: seeds the random streams
    plan: DecodePlan | None = None  # of a Decode
    stage: Stage = Stage.WAITING
    rows: tuple[int, ...] = ()
    waited: int = 0  # times that an encode step was looked for while it was the first to be encoded
    is_alignment: bool = field(init=False)  # whether word times are asked for; read for every window at every step

    def __post_init__(self) -> None:
        self.is_alignment = isinstance(self.request, Align)

    @property
    def rows_wanted(self) -> int:
        """Rows of the batch that the next step needs: none to detect a language or to align."""
        return self.plan.rows if self.plan is not None and self.plan.language is not None else 0

    @property
    def prompt_length(self) -> int:
        """Tokens that the decoder reads before it samples the first."""
        return len(self.plan.initial_tokens) if self.rows_wanted and self.plan is not None else 1
