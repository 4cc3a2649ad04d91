"""The batcher starves nobody, gives out what it has, and takes back what it gave."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
import torch
from whisper.decoding import DecodingOptions
from whisper.model import ModelDimensions

from whisper_fleet.workers.engine.batch import batcher
from whisper_fleet.workers.engine.batch.batcher import Batcher
from whisper_fleet.workers.engine.batch.beam import BeamSearch, rank
from whisper_fleet.workers.engine.batch.decode_plan import plan_decode
from whisper_fleet.workers.engine.batch.row_pool import RowPool
from whisper_fleet.workers.engine.batch.window import Session, Window
from whisper_fleet.workers.link import protocol

DIMS = ModelDimensions(80, 1500, 64, 1, 1, 51865, 448, 64, 1, 1)


def window(number: int, **options: Any) -> Window:
    plan = plan_decode(DecodingOptions(language="en", **options), DIMS)
    session = Session(number=number)
    request = protocol.DetectLanguage()
    made = Window(session=session, request=request, future=Future(), mel=torch.zeros(1), plan=plan)
    session.window = made
    return made


def encode_all(batch: Batcher) -> batcher.EncodeStep:
    step = batch.next_step()
    assert isinstance(step, batcher.EncodeStep)
    batch.encoded()
    return step


def start(batch: Batcher) -> batcher.PromptStep:
    step = batch.next_step()
    assert isinstance(step, batcher.PromptStep)
    for one in step.windows:
        batch.decoding(one)
    return step


def test_a_window_is_encoded_prompted_and_decoded() -> None:
    batch = Batcher(slots=2, encode_batch=2, encode_patience=0)
    one = window(1)
    batch.add(one)
    assert encode_all(batch).windows == (one,)
    assert start(batch).windows == (one,)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.done(one)
    assert batch.next_step() is None
    assert batch.rows.free == 2
    assert batch.slots.free == 1  # the session keeps its encoding


def test_arrivals_do_not_keep_running_rows_waiting() -> None:
    batch = Batcher(slots=8, encode_batch=1, encode_patience=0)
    batch.add(window(0))
    encode_all(batch)
    start(batch)
    kinds = []
    for number in range(1, 4):
        batch.add(window(number))
    for _ in range(8):
        step = batch.next_step()
        kinds.append(type(step).__name__)
        if isinstance(step, batcher.EncodeStep):
            batch.encoded()
        if isinstance(step, batcher.PromptStep):
            batch.decoding(step.windows[0])
    assert kinds == ["DecodeStep", "EncodeStep", "PromptStep"] * 2 + ["DecodeStep", "EncodeStep"]


def test_nobody_overtakes_a_window_that_waits_for_rows() -> None:
    batch = Batcher(slots=4, encode_batch=4, encode_patience=0)
    running, beams, single = window(0), window(1, beam_size=4), window(2)
    batch.add(running)
    encode_all(batch)
    start(batch)
    batch.add(beams)
    batch.add(single)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    encode_all(batch)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.done(running)
    assert start(batch).windows == (beams,)


def test_a_waiting_session_takes_the_slot_of_the_longest_idle_one() -> None:
    batch = Batcher(slots=1, encode_batch=1, encode_patience=0)
    first, second = window(1), window(2)
    batch.add(first)
    encode_all(batch)
    start(batch)
    batch.done(first)
    assert first.session.encoded
    batch.add(second)
    encode_all(batch)
    assert second.session.cache_slot == 0
    assert not first.session.encoded


def test_a_session_that_waits_again_holds_up_nobody_before_it() -> None:
    """Both wait, none is idle, and the only slot belonged to the second: once nobody got it any more."""
    batch = Batcher(slots=1, encode_batch=1, encode_patience=0)
    first, second = window(1), window(2)
    batch.add(first)
    encode_all(batch)
    start(batch)
    batch.add(second)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.done(first)
    again = Window(session=first.session, request=first.request, future=Future(), mel=torch.zeros(1), plan=first.plan)
    batch.add(again)
    assert encode_all(batch).windows == (second,)
    start(batch)
    batch.done(second)
    assert encode_all(batch).windows == (again,)


def test_shrinking_leaves_numbers_that_are_out_alone() -> None:
    pool = RowPool(4)
    taken = pool.take(4)
    assert taken == [0, 1, 2, 3]
    pool.move_limit(2)
    assert pool.extent == 4
    pool.give_back([3, 1])
    assert pool.take() == [1]
    assert pool.take() is None
    pool.move_limit(5)
    assert pool.take(2) == [3, 4]


def test_beams_end_when_enough_candidates_are_finished() -> None:
    search = BeamSearch(beams=2, max_candidates=2, end_of_text=9)
    assert search.advance([[-0.1, -1.0, -2.0]] * 2, [[5, 9, 6]] * 2) == ([5, 6], [1, 1])
    assert not search.completed
    search.advance([[-0.1, -0.2, -3.0], [-0.5, -0.6, -0.7]], [[9, 5, 6], [9, 5, 6]])
    assert search.completed
    tokens, logprobs = search.candidates()
    assert tokens == [[], [5]]
    assert logprobs == pytest.approx([-1.0, -0.2])
    assert rank(tokens, logprobs, None) == 1
