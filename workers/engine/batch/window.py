"""The host's side of what is in flight: sessions, and the windows that they wait for."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum

from torch import Tensor

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
    """One running segment: it has at most one window in flight and keeps the last one's encoding."""

    number: int
    cache_slot: int | None = None  # where in the cache its last window's encoding is
    encoded: bool = False  # whether that encoding is there
    fingerprint: int = 0  # of the last window's mel: seeds the random streams
    window: Window | None = None  # what it waits for
    closed: bool = False


@dataclass(eq=False, kw_only=True)
class Window:
    """One request about 30 s of audio, from its arrival to its answer."""

    session: Session
    request: Decode | DetectLanguage | Align
    future: Future[tuple[Reply, Tensor | None]]
    mel: Tensor | None  # [n_mels, 3000] until it is encoded
    plan: DecodePlan | None = None  # of a Decode
    stage: Stage = Stage.WAITING
    rows: list[int] = field(default_factory=list)
    waited: int = 0  # decode steps that it has watched go by

    @property
    def rows_wanted(self) -> int:
        """Rows of the batch that its next step needs."""
        return self.plan.rows if self.plan is not None and self.plan.language is not None else 0

    @property
    def prompt_length(self) -> int:
        """Tokens that the decoder reads before it samples the first."""
        return len(self.plan.initial_tokens) if self.rows_wanted and self.plan is not None else 1

    @property
    def is_alignment(self) -> bool:
        return isinstance(self.request, Align)
