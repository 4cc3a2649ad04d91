"""A model in the engine: its batch, its runner, its capacity, and the replies that its windows get."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from whisper_fleet.shared.errors import EngineError, EngineOutOfMemory
from whisper_fleet.workers.engine.batch.batcher import AlignStep, Batcher, DecodeStep, EncodeStep, PromptStep, Step
from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.batch.window import Stage, Window
from whisper_fleet.workers.engine.capacity import Capacity
from whisper_fleet.workers.engine.faults import is_device_lost, is_shortage
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.engine.stats import Meter, Work
from whisper_fleet.workers.link import protocol

log = logging.getLogger(__name__)

#: A window and what its client gets.
Answered = tuple[Window, protocol.Reply, Tensor | None]


@dataclass(eq=False)
class LoadedModel:
    """One model with its sessions."""

    name: str  # "name/precision"
    checkpoint: Checkpoint
    policy: BatchPolicy
    runner: Runner
    batch: Batcher
    capacity: Capacity
    meter: Meter
    last_used: float = field(default_factory=time.monotonic)

    @classmethod
    def create(
        cls,
        name: str,
        checkpoint: Checkpoint,
        runner: Runner,
        policy: BatchPolicy,
        meter: Meter,
        *,
        make_room: Callable[[], bool],
    ) -> Self:
        """Give a runner a batch, with one slot. `make_room` is Capacity's."""
        batch = Batcher(policy)
        capacity = Capacity(name, batch, runner.model.cache, width=policy.encode_width, make_room=make_room)
        return cls(name, checkpoint, policy, runner, batch, capacity, meter)

    def step(self) -> bool:
        """Do the next thing for this model's windows; return whether there was one."""
        if self.batch.encoding and self.runner.finish_encoding(wait=False):
            self.batch.encoded()
        self.capacity.recover()
        step = self.batch.next_step()
        if step is None:
            return self._wait_for_encoder()
        self.last_used = time.monotonic()
        if not self._run(step):
            self._do_with_less(step)
        self.capacity.fit_cache()
        return True

    def admit(self, window: Window) -> None:
        """Queue a request of one of our sessions; EngineOutOfMemory: there is no memory for its rows."""
        self.batch.admit(window)  # before rows are made: an idle session beyond the slots' limit loses its encoding
        self.capacity.make_rows_for(window)

    def forget(self, number: int) -> None:
        """End a session whose client disconnected: its rows leave the batch before the next step."""
        session = self.batch.sessions.get(number)
        if session is None:
            return
        if session.window is not None:
            session.window.future.cancel()
            self.runner.drop(session.window)
        self.batch.forget(session)

    def _run(self, step: Step) -> bool:
        """Run a step and hand out its replies; return False if memory ran out.

        The error of a shortage is not kept: its frames hold tensors.
        """
        started = time.monotonic()
        try:
            with self.runner.stream:
                for window, reply, tensor in self._replies(step):
                    self.batch.finish(window)
                    window.future.set_result((reply, tensor))
        except Exception as error:
            if is_shortage(error):
                return False
            self._fault(step, error)
        else:
            self.meter.spent(_kind_of(step), time.monotonic() - started)
        return True

    def _replies(self, step: Step) -> Iterator[Answered]:
        """Run a step, and yield each reply as soon as it is known: what fails later does not take it back."""
        match step:
            case EncodeStep(windows, audio):
                for group in self.policy.encode_groups(tuple(zip(windows, audio, strict=True))):
                    self.runner.encode(group)
                    self.batch.encoding_started(tuple(window for window, _ in group))
            case PromptStep(windows):
                yield from self._prompt(windows)
            case AlignStep((window,)):
                yield window, *self.runner.align(window)
            case DecodeStep():
                yield from self._decode()

    def _prompt(self, windows: tuple[Window, ...]) -> Iterator[Answered]:
        if unknown := tuple(window for window in windows if not window.rows):
            languages = self.runner.detect_language(unknown)
            for window, language in zip(unknown, languages, strict=True):
                yield from self._language(window, language)
        if known := tuple(window for window in windows if window.rows):
            self.runner.start(known)
            for window in known:
                self.batch.decoding_started(window)

    def _language(self, window: Window, language: protocol.Language) -> Iterator[Answered]:
        """Reply with a language, or complete the plan of a request that needs more than that."""
        code = max(language.probs, key=lambda code: language.probs[code])
        if window.plan is None:
            yield window, language, None
        elif window.plan.is_language_only:
            yield window, protocol.Decoded(language=code, language_probs=language.probs), None
        else:
            self.batch.language_known(window, code, language.token)

    def _decode(self) -> Iterator[Answered]:
        complete = self.runner.decode()
        for window, decoded in self.runner.results(complete):
            self.meter.answered(len(decoded.tokens))
            yield window, decoded, None

    def _do_with_less(self, step: Step) -> None:
        """Queue the windows of a step that ran out of memory again and use less; a single one in the batch fails."""
        windows = _unanswered(step)
        for window in reversed(windows):
            self.runner.drop(window)
            self.batch.put_back(window)
        self.runner.release_unused()
        if not self.capacity.shed(step, len(windows)):
            self._fail(windows, EngineOutOfMemory(what="a window, even alone"))

    def _fault(self, step: Step, error: Exception) -> None:
        """Fail the step's windows with the step's error, except those that it has answered already."""
        if is_device_lost(error):
            raise error
        if not isinstance(error, EngineError):
            log.error("a step of %d windows failed", len(step.windows), exc_info=error)
        self._fail(_unanswered(step), error)

    def _fail(self, windows: Iterable[Window], error: Exception) -> None:
        for window in windows:
            self.runner.drop(window)
            self.batch.abandon(window)
            window.future.set_exception(error)

    def _wait_for_encoder(self) -> bool:
        """Wait for the encode step that is under way, as there is nothing else to do; return whether there is one."""
        if not self.batch.encoding:
            return False
        started = time.monotonic()
        self.runner.finish_encoding(wait=True)
        self.batch.encoded()
        self.meter.spent("encode", time.monotonic() - started)
        return True


def _kind_of(step: Step) -> Work:
    match step:
        case EncodeStep():
            return "encode"
        case DecodeStep():
            return "decode"
        case _:
            return "prefill"


def _unanswered(step: Step) -> tuple[Window, ...]:
    return tuple(window for window in step.windows if window.stage is not Stage.DONE)
