"""Decides what the device does next: which windows are encoded, prompted, aligned, or one more step for all rows.

Pure: it takes windows and returns steps; it touches no tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_fleet.workers.engine.batch.row_pool import RowPool
from whisper_fleet.workers.engine.batch.window import Session, Stage, Window


@dataclass(frozen=True)
class EncodeStep:
    """Encode these windows' audio into their slots."""

    windows: tuple[Window, ...]


@dataclass(frozen=True)
class PromptStep:
    """Read these windows' prompts and sample their first tokens, or detect their language."""

    windows: tuple[Window, ...]


@dataclass(frozen=True)
class AlignStep:
    """Find out when the words of this window were spoken; of several there would be nothing to gain."""

    windows: tuple[Window]


@dataclass(frozen=True)
class DecodeStep:
    """One more token for every live row."""

    windows: tuple[Window, ...]


Step = EncodeStep | PromptStep | AlignStep | DecodeStep


class Batcher:
    """Windows of one model, in order of arrival; slots and rows are given out here and nowhere else."""

    def __init__(self, *, slots: int, encode_batch: int, encode_patience: int) -> None:
        self.slots = RowPool(slots)
        self.rows = RowPool(slots)
        #: Windows encoded or prompted at once.
        self.width = encode_batch
        #: Decode steps that an incomplete encode batch waits for more windows while rows are running.
        self._encode_patience = encode_patience
        self._waiting: list[Window] = []
        self._live: list[Window] = []
        self._idle: dict[int, Session] = {}  # sessions that hold a slot and wait for nothing, oldest first
        self._decode_is_due = False
        self._encoding: tuple[Window, ...] = ()

    @property
    def encoding(self) -> tuple[Window, ...]:
        """The windows of the encode step that is under way; there is at most one such step."""
        return self._encoding

    @property
    def waiting(self) -> tuple[Window, ...]:
        return tuple(self._waiting)

    @property
    def live(self) -> tuple[Window, ...]:
        return tuple(self._live)

    def add(self, window: Window) -> None:
        """A request arrived."""
        self._idle.pop(window.session.number, None)
        self._begin_again(window)
        self._waiting.append(window)

    def next_step(self) -> Step | None:
        """Prompts first, since their rows are free; then encode and decode in turn; None: nothing to do."""
        if align := next((window for window in self._waiting if window.is_alignment and _ready(window)), None):
            return AlignStep((align,))
        if prompts := self._prompts():
            return PromptStep(prompts)
        if not self._encoding and not (self._live and self._decode_is_due) and (windows := self._to_encode()):
            self._decode_is_due = True
            self._encoding = windows
            for window in windows:
                window.stage = Stage.ENCODING
            return EncodeStep(windows)
        if self._live:
            self._decode_is_due = False
            return DecodeStep(tuple(self._live))
        return None

    def encoded(self) -> None:
        """The encode step that is under way is done."""
        for window in self._encoding:
            if window.stage is Stage.ENCODING:
                window.stage = Stage.READY
                window.session.encoded = True
        self._encoding = ()

    def decoding(self, window: Window) -> None:
        """The window's prompt is read, its rows are in the batch."""
        window.stage = Stage.DECODING
        self._waiting.remove(window)
        self._live.append(window)

    def done(self, window: Window) -> None:
        """The window is answered, failed or dropped: its rows are free, its session keeps the slot."""
        if window.stage is Stage.DECODING:
            self._live.remove(window)
        elif window in self._waiting:
            self._waiting.remove(window)
        window.stage = Stage.DONE
        self.rows.give_back(window.rows)
        window.rows = []
        session = window.session
        session.window = None
        if session.closed:
            self.drop(session)
        elif session.cache_slot is not None:
            self._idle[session.number] = session

    def put_back(self, window: Window) -> None:
        """The step that held the window ran out of memory: it waits again, as if that step had never begun."""
        if window.stage is Stage.DECODING:
            self._live.remove(window)
            self._waiting.insert(0, window)
        self.rows.give_back(window.rows)
        window.rows = []
        if window.rows_wanted > self.rows.limit:  # it was lowered while they were out
            self.rows.move_limit(window.rows_wanted)
        if window.stage is not Stage.ENCODING or window.mel is not None:
            self._begin_again(window)
        self._encoding = tuple(one for one in self._encoding if one.stage is Stage.ENCODING)

    def _begin_again(self, window: Window) -> None:
        """A window that is to be encoded gives the slot of its session's last one away.

        Else none might be left for those before it, and all would wait for each other.
        """
        window.stage = Stage.WAITING if window.mel is not None else Stage.READY
        if window.mel is not None:
            self.drop(window.session)

    def drop(self, session: Session) -> None:
        """The session is over or loses its encoding: its slot is free."""
        self._idle.pop(session.number, None)
        if session.cache_slot is not None:
            self.slots.give_back([session.cache_slot])
        session.cache_slot, session.encoded = None, False

    def resize(self, slots: int, rows: int) -> None:
        """So many slots and rows from now on; idle sessions beyond them lose their encoding."""
        self.slots.move_limit(slots)
        self.rows.move_limit(rows)
        for session in [
            idle for idle in self._idle.values() if idle.cache_slot is not None and idle.cache_slot >= slots
        ]:
            self.drop(session)

    def _prompts(self) -> tuple[Window, ...]:
        """Ready windows of like prompt length that rows can be had for, in order of arrival."""
        chosen: list[Window] = []
        for window in self._waiting:
            if window.is_alignment or not _ready(window) or len(chosen) == self.width:
                continue
            if chosen and _length_class(window) != _length_class(chosen[0]):
                continue
            if len(self._live) + len(chosen) >= self.slots.limit:
                break  # more are live than there is memory for
            rows = self.rows.take(window.rows_wanted)
            if rows is None:
                break  # nobody overtakes a window that waits for its rows
            window.rows = rows
            chosen.append(window)
        return tuple(chosen)

    def _to_encode(self) -> tuple[Window, ...]:
        waiting = [window for window in self._waiting if window.stage is Stage.WAITING]
        if not waiting:
            return ()
        waiting[0].waited += 1
        patient = self._live and waiting[0].waited <= self._encode_patience
        if patient and len(waiting) < self.width:
            return ()
        room = self.slots.limit - len(self._live) - sum(1 for window in self._waiting if _ready(window))
        chosen = waiting[: max(min(room, self.width), 0)]
        return tuple(window for window in chosen if self._give_slot(window.session))

    def _give_slot(self, session: Session) -> bool:
        """A slot for the session's encoding, taken from the longest idle session if none is free."""
        if not self.slots.free and self._idle:
            self.drop(next(iter(self._idle.values())))
        if numbers := self.slots.take():
            session.cache_slot = numbers[0]
        return session.cache_slot is not None


def _ready(window: Window) -> bool:
    return window.stage is Stage.READY


def _length_class(window: Window) -> int:
    """Prompts of one class are padded to one length: 1-4, 5-8, 9-16 and so on."""
    return max(2, (window.prompt_length - 1).bit_length())
