"""What is allowed shrinks until one window is left alone, and grows again; windows put back lose nothing."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from whisper.decoding import DecodingOptions

from tests.support.in_process_engine import TINY
from whisper_fleet.shared.errors import EngineOutOfMemory, EngineRequestInvalid
from whisper_fleet.workers.engine.batch import batcher
from whisper_fleet.workers.engine.batch.batcher import Batcher
from whisper_fleet.workers.engine.batch.decode_plan import plan_decode
from whisper_fleet.workers.engine.batch.shortage import Allowance, is_shortage, less, more
from whisper_fleet.workers.engine.batch.window import Session, Stage, Window
from whisper_fleet.workers.link import protocol


def window(number: int) -> Window:
    session = Session(number=number)
    plan = plan_decode(DecodingOptions(language="en"), TINY)
    request = protocol.DetectLanguage()
    made = Window(session=session, request=request, future=Future(), mel=torch.zeros(1), plan=plan)
    session.window = made
    return made


def test_a_wide_step_becomes_half_as_wide() -> None:
    allowed = Allowance(width=16, slots=64)
    assert less(allowed, decoding=False, windows=12, live=40) == Allowance(width=6, slots=64)


def test_half_of_the_rows_go_on_where_all_were_too_many() -> None:
    allowed = Allowance(width=16, slots=64)
    assert less(allowed, decoding=True, windows=40, live=0) == Allowance(width=16, slots=20)


def test_a_window_waits_for_others_before_it_fails() -> None:
    allowed = Allowance(width=1, slots=8)
    assert less(allowed, decoding=False, windows=1, live=5) == Allowance(width=1, slots=2)
    assert less(allowed, decoding=False, windows=1, live=0) == Allowance(width=1, slots=1)
    assert less(Allowance(width=1, slots=1), decoding=False, windows=1, live=0) is None


@given(st.booleans(), st.integers(1, 600), st.integers(0, 600), st.integers(1, 16), st.integers(1, 512))
def test_nothing_grows_in_a_shortage(decoding: bool, windows: int, live: int, width: int, slots: int) -> None:
    allowed = Allowance(width=max(width, windows), slots=slots)
    lowered = less(allowed, decoding=decoding, windows=windows, live=live)
    if lowered is None:
        assert (windows, live, slots) == (1, 0, 1)
    else:
        assert 1 <= lowered.width <= allowed.width
        assert 1 <= lowered.slots <= allowed.slots


def test_twice_as_much_is_tried_up_to_what_is_wanted() -> None:
    wanted = Allowance(width=16, slots=6)
    assert more(Allowance(width=2, slots=2), wanted) == Allowance(width=4, slots=4)
    assert more(Allowance(width=16, slots=4), wanted) == wanted


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), True),
        (EngineOutOfMemory(what="more slots"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (EngineRequestInvalid(reason="best_of"), False),
    ],
)
def test_a_shortage_is_told_from_a_fault(error: Exception, short: bool) -> None:
    assert is_shortage(error) is short


def live_batch(slots: int) -> tuple[Batcher, list[Window]]:
    """Three windows in the batch."""
    batch = Batcher(slots=slots, encode_batch=3, encode_patience=0)
    windows = [window(number) for number in range(3)]
    for one in windows:
        batch.add(one)
    assert isinstance(batch.next_step(), batcher.EncodeStep)
    for one in windows:
        one.mel = None
    batch.encoded()
    assert isinstance(batch.next_step(), batcher.PromptStep)
    for one in windows:
        batch.decoding(one)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    return batch, windows


def test_live_windows_that_are_put_back_keep_order_and_encoding() -> None:
    batch, windows = live_batch(3)
    late = window(9)
    batch.add(late)
    for one in reversed(windows):
        batch.put_back(one)
    assert batch.waiting == (*windows, late)
    assert [one.stage for one in windows] == [Stage.READY] * 3
    assert batch.rows.free == 3
    batch.resize(2, 2)
    step = batch.next_step()
    assert isinstance(step, batcher.PromptStep)
    assert step.windows == (windows[0], windows[1])


def test_windows_whose_encoding_failed_are_encoded_again() -> None:
    batch = Batcher(slots=2, encode_batch=2, encode_patience=0)
    begun, failed = window(1), window(2)
    batch.add(begun)
    batch.add(failed)
    batch.next_step()
    begun.mel = None  # its encoding is under way
    for one in (failed, begun):
        batch.put_back(one)
    assert batch.encoding == (begun,)
    batch.encoded()
    assert (begun.stage, failed.stage) == (Stage.READY, Stage.WAITING)


def test_no_more_windows_are_in_flight_than_slots_are_left() -> None:
    batch, live = live_batch(4)
    batch.resize(2, 2)
    batch.add(window(7))
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.done(live[0])
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.done(live[1])
    assert isinstance(batch.next_step(), batcher.EncodeStep)
