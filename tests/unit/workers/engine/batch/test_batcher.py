"""The batcher starves no window, gives out what it has, and takes back what it gave."""

from __future__ import annotations

from concurrent.futures import Future

from tests.support.windows import batcher_of, encode_all, live_batch, plan_of, start, window
from whisper_fleet.workers.engine.batch import batcher
from whisper_fleet.workers.engine.batch.row_pool import RowPool
from whisper_fleet.workers.engine.batch.window import Stage, Window


def test_a_window_is_encoded_prompted_and_decoded() -> None:
    batch = batcher_of(slots=2, width=2)
    one = window(1)
    batch.admit(one)
    assert encode_all(batch).windows == (one,)
    assert start(batch).windows == (one,)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.finish(one)
    assert batch.next_step() is None
    assert batch.rows.free == 2
    assert batch.slots.free == 1  # the session keeps its encoding


def test_arrivals_do_not_keep_running_rows_waiting() -> None:
    batch = batcher_of(slots=8, width=1)
    batch.admit(window(0))
    encode_all(batch)
    start(batch)
    kinds = []
    for number in range(1, 4):
        batch.admit(window(number))
    for _ in range(8):
        step = batch.next_step()
        kinds.append(type(step).__name__)
        if isinstance(step, batcher.EncodeStep):
            batch.encoding_started(step.windows)
            batch.encoded()
        if isinstance(step, batcher.PromptStep):
            batch.decoding_started(step.windows[0])
    assert kinds == ["DecodeStep", "EncodeStep", "PromptStep"] * 2 + ["DecodeStep", "EncodeStep"]


def test_nobody_overtakes_a_window_that_waits_for_rows() -> None:
    batch = batcher_of(slots=4, width=4)
    running, beams, single = window(0), window(1, plan=plan_of(rows=4)), window(2)
    batch.admit(running)
    encode_all(batch)
    start(batch)
    batch.admit(beams)
    batch.admit(single)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    encode_all(batch)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.finish(running)
    assert start(batch).windows == (beams,)


def test_a_waiting_session_takes_the_slot_of_the_longest_idle_one() -> None:
    batch = batcher_of(slots=1, width=1)
    first, second = window(1), window(2)
    batch.admit(first)
    encode_all(batch)
    start(batch)
    batch.finish(first)
    assert first.session.is_encoded
    batch.admit(second)
    encode_all(batch)
    assert second.session.cache_slot == 0
    assert not first.session.is_encoded


def test_a_session_that_waits_again_holds_up_nobody_before_it() -> None:
    """Both wait, none is idle, and the only slot belonged to the second: once nobody got it any more."""
    batch = batcher_of(slots=1, width=1)
    first, second = window(1), window(2)
    batch.admit(first)
    encode_all(batch)
    start(batch)
    batch.admit(second)
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.finish(first)
    again = Window(session=first.session, request=first.request, future=Future(), audio="audio", plan=first.plan)
    batch.admit(again)
    assert encode_all(batch).windows == (second,)
    start(batch)
    batch.finish(second)
    assert encode_all(batch).windows == (again,)


def test_shrinking_leaves_numbers_that_are_out_alone() -> None:
    pool = RowPool(4)
    taken = pool.take(4)
    assert taken == [0, 1, 2, 3]
    pool.set_limit(2)
    assert pool.extent == 4
    pool.give_back([3, 1])
    assert pool.take() == [1]
    assert pool.take() is None
    pool.set_limit(5)
    assert pool.take(2) == [3, 4]


def test_live_windows_that_are_put_back_keep_order_and_encoding() -> None:
    batch, windows = live_batch(3)
    late = window(9)
    batch.admit(late)
    for one in reversed(windows):
        batch.put_back(one)
    assert batch.waiting == (*windows, late)
    assert [one.stage for one in windows] == [Stage.READY] * 3
    assert batch.rows.free == 3
    batch.set_limits(width=3, slots=2, rows=2)
    step = batch.next_step()
    assert isinstance(step, batcher.PromptStep)
    assert step.windows == (windows[0], windows[1])


def test_windows_whose_encoding_failed_are_encoded_again() -> None:
    batch = batcher_of(slots=2, width=2)
    begun, failed = window(1), window(2)
    batch.admit(begun)
    batch.admit(failed)
    step = batch.next_step()
    assert isinstance(step, batcher.EncodeStep)
    assert step.audio == ("audio of 1", "audio of 2")
    batch.encoding_started((begun,))
    for one in (failed, begun):
        batch.put_back(one)
    assert batch.encoding == (begun,)
    batch.encoded()
    assert (begun.stage, failed.stage) == (Stage.READY, Stage.WAITING)
    assert batch.slots.free == 1


def test_audio_is_let_go_when_its_encoding_begins() -> None:
    batch = batcher_of(slots=1, width=1)
    one = window(1)
    batch.admit(one)
    encode_all(batch)
    assert one.audio is None
    assert one.session.is_encoded


def test_no_more_windows_are_in_flight_than_slots_are_left() -> None:
    batch, live = live_batch(4)
    batch.set_limits(width=3, slots=2, rows=2)
    batch.admit(window(7))
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.finish(live[0])
    assert isinstance(batch.next_step(), batcher.DecodeStep)
    batch.finish(live[1])
    assert isinstance(batch.next_step(), batcher.EncodeStep)


def test_a_window_that_failed_leaves_no_encoding_behind() -> None:
    batch, live = live_batch(3)
    batch.abandon(live[0])
    assert not live[0].session.is_encoded
    assert (batch.slots.free, batch.rows.free) == (1, 1)


def test_a_forgotten_session_leaves_nothing_behind() -> None:
    batch = batcher_of(slots=3, width=3)
    sessions = [batch.open_session(number) for number in range(3)]
    for session in sessions[1:]:
        batch.admit(window(session.number, session=session))
    encode_all(batch)
    start(batch)
    decoding = batch.live[0]
    for session in sessions:
        batch.forget(session)
    assert (batch.sessions, batch.waiting, batch.live) == ({}, (), ())
    assert (batch.slots.free, batch.rows.free) == (3, 3)
    assert decoding.stage is Stage.DONE


def test_a_window_whose_client_left_while_it_was_encoded_is_not_prompted() -> None:
    batch = batcher_of(slots=1, width=1)
    one = window(1)
    batch.admit(one)
    step = batch.next_step()
    assert isinstance(step, batcher.EncodeStep)
    batch.encoding_started(step.windows)
    batch.forget(one.session)
    batch.encoded()
    assert batch.next_step() is None


def test_a_window_without_audio_is_about_the_sessions_encoding() -> None:
    batch = batcher_of(slots=1, width=1)
    first = window(1)
    batch.admit(first)
    encode_all(batch)
    start(batch)
    batch.finish(first)
    again = Window(session=first.session, request=first.request, future=Future(), plan=first.plan)
    batch.admit(again)
    assert again.fingerprint == first.fingerprint
    assert start(batch).windows == (again,)


def test_a_detected_language_completes_a_plan() -> None:
    batch = batcher_of(slots=1, width=1)
    one = window(1, plan=plan_of(language=None))
    batch.admit(one)
    encode_all(batch)
    step = batch.next_step()
    assert isinstance(step, batcher.PromptStep)
    assert one.rows == ()
    batch.language_known(one, "de", 50261)
    assert start(batch).windows == (one,)
    assert one.plan is not None
    assert one.plan.initial_tokens == (50258, 50261, 50359)
