"""Decides what the device does next: which windows are encoded, prompted, aligned, or one more step for all rows.

Pure: it takes windows and returns steps; it touches no tensor. It alone changes windows and sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.batch.row_pool import RowPool
from whisper_fleet.workers.engine.batch.window import Session, Stage, Window


@dataclass(frozen=True)
class EncodeStep:
    """Encode these windows' audio into their slots."""

    windows: tuple[Window, ...]
    audio: tuple[Any, ...]  # of each window


@dataclass(frozen=True)
class PromptStep:
    """Read these windows' prompts and sample their first tokens, or detect their language."""

    windows: tuple[Window, ...]


@dataclass(frozen=True)
class AlignStep:
    """Find out when the words of this window were spoken; several at once would be no faster."""

    windows: tuple[Window]


@dataclass(frozen=True)
class DecodeStep:
    """Sample one more token for every live row."""

    windows: tuple[Window, ...]


Step = EncodeStep | PromptStep | AlignStep | DecodeStep


class Batcher:
    """The windows of one model, in order of arrival, and the slots and rows that they hold.

    A window's life: `admit`, `encoding_started`, `encoded`, (`language_known`,) `decoding_started`, and `finish` or
    `abandon`. `put_back` undoes a step that ran out of memory, `forget` ends a session.
    """

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._width = policy.encode_width
        self._slots, self._rows = RowPool(1), RowPool(1)
        self._sessions: dict[int, Session] = {}
        self._waiting: list[Window] = []
        self._encoding: tuple[Window, ...] = ()
        self._live: list[Window] = []
        self._idle: dict[int, Session] = {}  # sessions that hold a slot and wait for nothing, oldest first
        self._decode_is_due = False

    @property
    def sessions(self) -> Mapping[int, Session]:
        """The open sessions by number."""
        return MappingProxyType(self._sessions)

    @property
    def waiting(self) -> tuple[Window, ...]:
        """The windows without rows, in the order in which they are served."""
        return tuple(self._waiting)

    @property
    def encoding(self) -> tuple[Window, ...]:
        """The windows of the encode step that is under way; there is at most one such step."""
        return self._encoding

    @property
    def live(self) -> tuple[Window, ...]:
        """The windows whose rows are in the batch."""
        return tuple(self._live)

    @property
    def slots(self) -> RowPool:
        """The slots of the cache; only the batcher takes from them."""
        return self._slots

    @property
    def rows(self) -> RowPool:
        """The rows of the batch; only the batcher takes from them."""
        return self._rows

    def set_limits(self, *, width: int, slots: int, rows: int) -> None:
        """Let a step hold `width` windows, and give out `slots` and `rows`; idle sessions beyond lose their slot."""
        self._width = width
        self._slots.set_limit(slots)
        self._rows.set_limit(rows)
        for session in list(self._idle.values()):
            if session.cache_slot is not None and session.cache_slot >= slots:
                self._release_slot(session)

    def open_session(self, number: int) -> Session:
        """Add a session that waits for nothing."""
        self._sessions[number] = Session(number=number)
        return self._sessions[number]

    def admit(self, window: Window) -> None:
        """Queue a window that arrived. Without audio, it is about the encoding that its session holds.

        A window that is to be encoded releases the slot of its session's last one. Otherwise no slot might be left
        for the windows before it, and all of them would wait for each other.
        """
        session = window.session
        if window.audio is None:
            window.stage = Stage.READY
            window.fingerprint = session.fingerprint
        else:
            window.stage = Stage.WAITING
            session.fingerprint = window.fingerprint
            self._release_slot(session)
        self._idle.pop(session.number, None)
        session.window = window
        self._waiting.append(window)

    def next_step(self) -> Step | None:
        """Return what to do next; None: nothing.

        Alignments and prompts come first, since their slots and rows are there; then encode and decode in turn.
        """
        for window in self._waiting:
            if window.is_alignment and window.stage is Stage.READY:
                return AlignStep((window,))
        if prompts := self._prompts():
            return PromptStep(prompts)
        if not self._encoding and not (self._live and self._decode_is_due) and (windows := self._to_encode()):
            self._decode_is_due = True
            return EncodeStep(windows, tuple(window.audio for window in windows))
        if self._live:
            self._decode_is_due = False
            return DecodeStep(tuple(self._live))
        return None

    def encoding_started(self, windows: tuple[Window, ...]) -> None:
        """Note that the device has these windows' audio, which is not needed here any more."""
        for window in windows:
            window.stage = Stage.ENCODING
            window.audio = None
        self._encoding += windows

    def encoded(self) -> None:
        """Note that the encode step that was under way is done."""
        for window in self._encoding:
            if window.stage is Stage.ENCODING:
                window.stage = Stage.READY
        self._encoding = ()

    def language_known(self, window: Window, language: str, token: int) -> None:
        """Complete the plan of a decode request with the detected language, so that its prompt can be read."""
        if window.plan is None:
            raise RuntimeError("only a decode request needs a language")
        window.plan = window.plan.in_language(language, token)

    def decoding_started(self, window: Window) -> None:
        """Note that the window's prompt is read and that its rows are in the batch."""
        window.stage = Stage.DECODING
        self._waiting.remove(window)
        self._live.append(window)

    def finish(self, window: Window) -> None:
        """Take out a window that has its reply: its rows are free, its session keeps the encoding."""
        self._take_out(window)
        if window.session.cache_slot is not None:
            self._idle[window.session.number] = window.session

    def abandon(self, window: Window) -> None:
        """Take out a window that failed or whose client disconnected; nothing relies on its encoding."""
        self._take_out(window)
        self._release_slot(window.session)

    def put_back(self, window: Window) -> None:
        """Queue a window again whose step ran out of memory, as if that step had never begun.

        Windows that were decoding must be put back last first: each becomes the first in the queue.
        """
        if window.stage is Stage.DECODING:
            self._live.remove(window)
            self._waiting.insert(0, window)
            window.stage = Stage.READY
        elif window.stage is Stage.WAITING:
            self._release_slot(window.session)
        self._free_rows(window)

    def forget(self, session: Session) -> None:
        """End a session: its window and its encoding leave."""
        self._sessions.pop(session.number, None)
        if session.window is not None:
            self._take_out(session.window)
        self._release_slot(session)

    def _take_out(self, window: Window) -> None:
        if window.stage is Stage.DECODING:
            self._live.remove(window)
        elif window in self._waiting:
            self._waiting.remove(window)
        window.stage = Stage.DONE
        window.session.window = None
        self._free_rows(window)

    def _free_rows(self, window: Window) -> None:
        self._rows.give_back(window.rows)
        window.rows = ()

    def _release_slot(self, session: Session) -> None:
        self._idle.pop(session.number, None)
        if session.cache_slot is not None:
            self._slots.give_back([session.cache_slot])
        session.cache_slot = None

    def _prompts(self) -> tuple[Window, ...]:
        """Return the ready windows of one class of prompts that rows are free for, in order of arrival."""
        chosen: list[Window] = []
        for window in self._waiting:
            if len(chosen) == self._width:
                break
            if window.stage is not Stage.READY or window.is_alignment:
                continue
            if chosen and self._prompt_class(window) != self._prompt_class(chosen[0]):
                continue
            if len(self._live) + len(chosen) >= self._slots.limit:
                break  # more are live than there is memory for
            rows = self._rows.take(window.rows_wanted)
            if rows is None:
                break  # no window overtakes one that waits for its rows
            window.rows = tuple(rows)
            chosen.append(window)
        return tuple(chosen)

    def _prompt_class(self, window: Window) -> int:
        return self._policy.prompt_class(window.prompt_length)

    def _to_encode(self) -> tuple[Window, ...]:
        waiting = [window for window in self._waiting if window.stage is Stage.WAITING]
        if not waiting:
            return ()
        waiting[0].waited += 1
        is_patient = self._live and waiting[0].waited <= self._policy.encode_patience
        if is_patient and len(waiting) < self._width:
            return ()
        room = self._slots.limit - len(self._live) - sum(window.stage is Stage.READY for window in self._waiting)
        chosen = waiting[: max(min(room, self._width), 0)]
        return tuple(window for window in chosen if self._give_slot(window.session))

    def _give_slot(self, session: Session) -> bool:
        """Give the session a slot, taken from the longest idle session if none is free; False: there is none."""
        if not self._slots.free and self._idle:
            self._release_slot(next(iter(self._idle.values())))
        if numbers := self._slots.take():
            session.cache_slot = numbers[0]
        return session.cache_slot is not None
