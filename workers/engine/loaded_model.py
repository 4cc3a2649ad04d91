"""A model in the engine: its batch and its runner, and the answers that its windows get."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from whisper_fleet.shared.errors import EngineError, EngineOutOfMemory
from whisper_fleet.shared.memory import ENCODER_ROWS
from whisper_fleet.workers.engine.alignment import align
from whisper_fleet.workers.engine.batch import batcher
from whisper_fleet.workers.engine.batch.batcher import Batcher, Step
from whisper_fleet.workers.engine.batch.shortage import RECOVERY_SECONDS, Allowance, is_shortage, less, more
from whisper_fleet.workers.engine.batch.window import Session, Stage, Window
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.engine.stats import Meter
from whisper_fleet.workers.link import protocol

log = logging.getLogger(__name__)

#: Windows encoded at once, and decode steps that an incomplete batch of them waits, by device.
ENCODE_BATCH = {"cuda": ENCODER_ROWS, "cpu": 1}
ENCODE_PATIENCE = {"cuda": 6, "cpu": 0}


@dataclass(eq=False)
class LoadedModel:
    """One model with its sessions."""

    name: str  # "name/precision"
    checkpoint: Checkpoint
    runner: Runner
    batch: Batcher
    meter: Meter
    make_room: Callable[[], bool] = lambda: False  # unload another model; whether there was one
    sessions: dict[int, Session] = field(default_factory=dict)
    last_used: float = field(default_factory=time.monotonic)
    _short_since: float = 0.0  # when memory ran out last

    def __post_init__(self) -> None:
        self._wanted = Allowance(width=self.batch.width, slots=self.batch.slots.limit)
        self._allowed = self._wanted

    def step(self) -> bool:
        """Do the next thing for this model's windows; whether there was one."""
        if self.batch.encoding and self.runner.finish_encoding(wait=False):
            self.batch.encoded()
        if self._allowed != self._wanted and time.monotonic() > self._short_since + RECOVERY_SECONDS:
            self._recover()
        step = self.batch.next_step()
        if step is None:
            return self._wait_for_encoder()
        self.last_used = time.monotonic()
        try:
            with self.runner.stream:
                self._run(step)
            is_short = False
        except Exception as error:
            is_short = is_shortage(error)
            if not is_short:
                self._fault(step, error)
        if is_short:  # not in the handler: the error's frames hold tensors
            self._go_without(step)
        self._follow_batch()
        return True

    def _fault(self, step: Step, error: Exception) -> None:
        """The step's windows fail, each with the step's error, but those that it has answered already."""
        if not isinstance(error, EngineError):
            if "CUDA" in str(error):
                raise error  # the context is broken: nothing on this device can be saved
            log.error("a step of %d windows failed", len(step.windows), exc_info=error)
        self._fail(_unanswered(step), error)

    def _go_without(self, step: Step) -> None:
        """Memory ran out: the step's windows wait again, and less is used at once; one that is alone fails."""
        windows = _unanswered(step)
        for window in reversed(windows):
            self.runner.drop(window)
            self.batch.put_back(window)
        if self.runner.device.type == "cuda":
            torch.cuda.empty_cache()
        self._short_since = time.monotonic()
        if self.make_room():
            return
        decoding, live = isinstance(step, batcher.DecodeStep), len(self.batch.live)
        allowed = less(self._allowed, decoding=decoding, windows=len(windows), live=live)
        if allowed is None:
            self._fail(windows, EngineOutOfMemory(what="a window, even alone"))
            return
        log.warning("out of memory in a step of %d windows: going on with %s", len(windows), allowed)
        self._allow(allowed)

    def _recover(self) -> None:
        """There has been memory for a while: try twice as much."""
        self._short_since = time.monotonic()
        before = self._allowed
        try:
            self._allow(more(before, self._wanted))
        except EngineOutOfMemory:
            self._allow(before)

    def _allow(self, allowed: Allowance) -> None:
        """Use so much at once; EngineOutOfMemory leaves the cache as it was."""
        self.batch.width = allowed.width
        self.batch.resize(allowed.slots, max(allowed.slots, self._rows_wanted()))
        self._follow_batch()
        self._allowed = allowed

    def _wait_for_encoder(self) -> bool:
        """Nothing can be done but to wait for the encode step that is under way, if there is one."""
        if not self.batch.encoding:
            return False
        started = time.monotonic()
        self.runner.finish_encoding(wait=True)
        self.batch.encoded()
        self.meter.spent("encode", time.monotonic() - started)
        return True

    def _run(self, step: Step) -> None:
        started = time.monotonic()
        kind: str
        match step:
            case batcher.EncodeStep(windows):
                kind = "encode"
                self.runner.encode(windows)
            case batcher.PromptStep(windows):
                kind = "prefill"
                self._prompt(windows)
            case batcher.AlignStep((window,)):
                kind = "prefill"
                self._align(window)
            case batcher.DecodeStep():
                kind = "decode"
                self._deliver(self.runner.decode())
        self.meter.spent(kind, time.monotonic() - started)

    def _prompt(self, windows: tuple[Window, ...]) -> None:
        unknown = tuple(window for window in windows if not window.rows)
        for window, language in zip(unknown, self.runner.detect_language(unknown) if unknown else [], strict=True):
            self._language(window, language)
        if known := tuple(window for window in windows if window.rows):
            self.runner.start(known)
            for window in known:
                self.batch.decoding(window)

    def _language(self, window: Window, language: protocol.Language) -> None:
        """An answer by itself, or the missing part of a decode request's plan."""
        code = max(language.probs, key=lambda code: language.probs[code])
        if window.plan is None:
            self._answer(window, language)
        elif window.plan.options.task == "lang_id":
            self._answer(window, protocol.Decoded(language=code, language_probs=language.probs))
        else:
            window.plan = window.plan.in_language(code, language.token)

    def _align(self, window: Window) -> None:
        if window.session.cache_slot is None or not isinstance(window.request, protocol.Align):
            raise RuntimeError("only alignments of encoded windows are scheduled")
        heads = self.checkpoint.alignment_heads
        runner = self.runner
        slot = window.session.cache_slot
        reply, matrix = align(runner.network, runner.cache, runner.audio, slot, window.request, heads)
        self.batch.done(window)
        window.future.set_result((reply, matrix))

    def _deliver(self, complete: list[Window]) -> None:
        if complete:
            for window, decoded in zip(complete, self.runner.results(complete), strict=True):
                self.meter.answered(len(decoded.tokens))
                self._answer(window, decoded)

    def _answer(self, window: Window, reply: protocol.Reply) -> None:
        self.batch.done(window)
        window.future.set_result((reply, None))

    def _fail(self, windows: tuple[Window, ...], error: Exception) -> None:
        for window in windows:
            self.abandon(window)
            window.future.set_exception(error)

    def abandon(self, window: Window) -> None:
        """The window leaves without an answer."""
        self.runner.drop(window)
        window.session.encoded = False
        self.batch.done(window)

    def forget(self, session: Session) -> None:
        """The session's client is gone: its row is dropped before the next step."""
        self.sessions.pop(session.number, None)
        session.closed = True
        if session.window is not None:
            session.window.future.cancel()
            self.abandon(session.window)
        else:
            self.batch.drop(session)

    def resize(self, slots: int) -> None:
        """Hold memory for so many slots, or for as many as there is memory for."""
        self._wanted = replace(self._wanted, slots=slots)
        before = self._allowed.slots
        while True:
            try:
                self._allow(replace(self._allowed, slots=slots))
                return
            except EngineOutOfMemory:
                if not self.make_room():
                    slots = max(slots // 2, before)
                    self._short_since = time.monotonic()
                    log.warning("no memory for more slots of %s: going on with %d", self.name, slots)

    def _rows_wanted(self) -> int:
        """Rows that the widest of the waiting windows needs."""
        return max((window.plan.rows for window in self.batch.waiting if window.plan), default=1)

    def add(self, window: Window) -> None:
        """A request of one of our sessions; EngineOutOfMemory when its rows find no memory."""
        window.session.window = window
        self.batch.add(window)  # before rows are looked for: an idle session beyond the slots' limit loses its encoding
        if window.plan and window.plan.rows > self.batch.rows.limit:
            self._grow_rows(window, window.plan.rows)

    def _grow_rows(self, window: Window, rows: int) -> None:
        while True:
            self.batch.resize(self.batch.slots.limit, rows)
            try:
                self._follow_batch()
                return
            except EngineOutOfMemory:
                if not self.make_room():
                    self.abandon(window)
                    self._allow(self._allowed)
                    raise

    def _follow_batch(self) -> None:
        """The cache holds what may be given out and what is still out, no more."""
        slots, rows = self.batch.slots, self.batch.rows
        self.runner.cache.resize(max(slots.limit, slots.extent, 1), max(rows.limit, rows.extent, 1))


def _unanswered(step: Step) -> tuple[Window, ...]:
    return tuple(window for window in step.windows if window.stage is not Stage.DONE)
