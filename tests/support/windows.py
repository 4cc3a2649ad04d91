"""Windows and batchers without a model, and the steps that a batcher is led through."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from whisper_fleet.workers.engine.batch import batcher
from whisper_fleet.workers.engine.batch.batcher import Batcher
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.engine.batch.policy import CPU_POLICY
from whisper_fleet.workers.engine.batch.window import Session, Window
from whisper_fleet.workers.link.protocol import DetectLanguage

_PLAN = DecodePlan(
    initial_tokens=(50258, 50259, 50359),
    sot_index=0,
    max_sampled=224,
    end_of_text=50257,
    suppressed=(),
    suppress_blank=True,
    timestamps=True,
    max_initial_timestamp=None,
    temperature=0.0,
    rows=1,
    is_beam=False,
    max_candidates=1,
    length_penalty=None,
    language="en",
    is_language_only=False,
)


def plan_of(**values: Any) -> DecodePlan:
    """Return a plan of one row in English, with other values."""
    return replace(_PLAN, **values)


def window(number: int, *, plan: DecodePlan = _PLAN, session: Session | None = None) -> Window:
    """Return a window of a session of its own, as it arrives."""
    return Window(
        session=session or Session(number=number),
        request=DetectLanguage(),
        future=Future(),
        audio=f"audio of {number}",
        fingerprint=number,
        plan=plan,
    )


def batcher_of(*, slots: int, width: int) -> Batcher:
    """Return a batcher with as many rows as slots, whose encode steps wait for no company."""
    batch = Batcher(replace(CPU_POLICY, encode_width=width))
    batch.set_limits(width=width, slots=slots, rows=slots)
    return batch


def encode_all(batch: Batcher) -> batcher.EncodeStep:
    """Carry out the encode step that is due."""
    step = batch.next_step()
    assert isinstance(step, batcher.EncodeStep)
    batch.encoding_started(step.windows)
    batch.encoded()
    return step


def start(batch: Batcher) -> batcher.PromptStep:
    """Carry out the prompt step that is due."""
    step = batch.next_step()
    assert isinstance(step, batcher.PromptStep)
    for one in step.windows:
        batch.decoding_started(one)
    return step


def live_batch(slots: int) -> tuple[Batcher, list[Window]]:
    """Return a batcher with three windows in the batch."""
    batch = batcher_of(slots=slots, width=3)
    windows = [window(number) for number in range(3)]
    for one in windows:
        batch.admit(one)
    encode_all(batch)
    start(batch)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    return batch, windows
