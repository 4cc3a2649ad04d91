"""The slots of a node run every submitted body exactly once, while their number changes."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import PoolError, SegmentStopped, SlotLost
from whisper_fleet.workers.pool.slots import Slot, Slots, current_slot, revoked


class Gate:
    """Bodies that wait until the test opens the gate, and record how they ended."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.open = threading.Event()
        self.ended: list[object] = []

    def body(self, slot: Slot) -> None:
        self.started.release()
        while not self.open.wait(0.002):
            try:
                slot.check()
            except Exception as reason:
                self.ended.append(reason)
                return
        self.ended.append("done")

    def wait_started(self, n: int) -> None:
        for _ in range(n):
            assert self.started.acquire(timeout=5)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def test_no_more_tasks_run_at_once_than_there_are_slots(gate: Gate) -> None:
    slots = Slots(2)
    for _ in range(5):
        slots.submit(gate.body)
    gate.wait_started(2)
    assert slots.busy == 2
    assert not gate.started.acquire(timeout=0.05)
    gate.open.set()
    wait_until(lambda: gate.ended == ["done"] * 5)


def test_grow_starts_waiting_tasks_at_once(gate: Gate) -> None:
    slots = Slots(1)
    for _ in range(4):
        slots.submit(gate.body)
    gate.wait_started(1)
    slots.grow(2)
    gate.wait_started(2)
    assert (slots.limit, slots.busy) == (3, 3)
    gate.open.set()
    wait_until(lambda: len(gate.ended) == 4)


def test_a_task_wakes_one_of_many_idle_threads(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    woken = Counter[str]()

    class Counting(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            was_notified = super().wait(timeout)
            woken["threads"] += was_notified
            return was_notified

    with monkeypatch.context() as patched:
        patched.setattr(threading, "Condition", Counting)
        slots = Slots(50)
    for _ in range(50):
        slots.submit(gate.body)
    gate.wait_started(50)
    gate.open.set()
    wait_until(lambda: len(gate.ended) == 50)
    for _ in range(20):
        task = Gate()
        slots.submit(task.body)
        task.wait_started(1)
        task.open.set()
        wait_until(lambda: not slots.busy)
    assert woken["threads"] <= 20


def test_shrink_lets_busy_slots_finish_and_starts_no_new_ones(gate: Gate) -> None:
    slots = Slots(3)
    first, second = Gate(), Gate()
    for _ in range(3):
        slots.submit(first.body)
    first.wait_started(3)
    slots.shrink(2)
    for _ in range(3):
        slots.submit(second.body)
    assert (slots.limit, slots.busy) == (1, 3)
    first.open.set()
    wait_until(lambda: first.ended == ["done"] * 3)
    second.wait_started(1)
    assert not second.started.acquire(timeout=0.05)
    second.open.set()
    wait_until(lambda: second.ended == ["done"] * 3)
    wait_until(lambda: slots.threads == 1)


@pytest.mark.parametrize("n", [3, 4, 100, 0, -1])
def test_shrink_below_one_slot_is_refused_and_changes_nothing(n: int) -> None:
    slots = Slots(3)
    with pytest.raises(PoolError):
        slots.shrink(n)
    assert slots.limit == 3


@pytest.mark.parametrize("n", [0, -2])
def test_grow_by_less_than_one_is_refused(n: int) -> None:
    slots = Slots(3)
    with pytest.raises(PoolError):
        slots.grow(n)
    assert slots.limit == 3


def test_racing_grows_and_shrinks_lose_and_double_nothing() -> None:
    slots, ran, lock = Slots(4), Counter[int](), threading.Lock()

    def body(i: int) -> Callable[[Slot], None]:
        def run(slot: Slot) -> None:
            with lock:
                ran[i] += 1

        return run

    def resize(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(200):
            n = dice.randint(1, 3)
            with contextlib.suppress(PoolError):
                (slots.grow if dice.random() < 0.5 else slots.shrink)(n)

    resizers = [threading.Thread(target=resize, args=(seed,)) for seed in range(3)]
    for thread in resizers:
        thread.start()
    for i in range(2000):
        slots.submit(body(i))
    for thread in resizers:
        thread.join()
    wait_until(lambda: sum(ran.values()) >= 2000)
    assert set(ran.values()) == {1}
    assert len(ran) == 2000
    wait_until(lambda: slots.busy == 0)
    assert 1 <= slots.threads <= slots.limit


def test_a_stopped_slot_raises_at_its_next_check_and_others_go_on(gate: Gate) -> None:
    slots = Slots(2)
    stopped = slots.submit(gate.body)
    slots.submit(gate.body)
    gate.wait_started(2)
    slots.stop(stopped.number, revoked())
    wait_until(lambda: len(gate.ended) == 1)
    assert isinstance(gate.ended[0], SegmentStopped)
    gate.open.set()
    wait_until(lambda: gate.ended[1:] == ["done"])


def test_a_stop_that_comes_too_late_does_not_hit_the_next_task_of_the_slot(gate: Gate) -> None:
    slots = Slots(1)
    first = slots.submit(lambda slot: None)
    slots.submit(gate.body)
    gate.wait_started(1)
    slots.stop(first.number, revoked())
    gate.open.set()
    wait_until(lambda: gate.ended == ["done"])


def test_the_first_reason_to_stop_stays() -> None:
    slot = Slot()
    slot.stop(SlotLost())
    slot.stop(revoked())
    with pytest.raises(SlotLost):
        slot.check()


def test_a_task_runs_in_its_own_slot() -> None:
    slots, pairs = Slots(2), []
    submitted = [slots.submit(lambda slot: pairs.append((slot, current_slot()))) for _ in range(10)]
    wait_until(lambda: len(pairs) == 10)
    assert all(slot is current for slot, current in pairs)
    assert {slot.number for slot, _ in pairs} == {slot.number for slot in submitted}


def test_a_body_that_raises_does_not_cost_its_slot(caplog: pytest.LogCaptureFixture, gate: Gate) -> None:
    slots = Slots(1)

    def fail(slot: Slot) -> None:
        raise RuntimeError("outside of the task")

    slots.submit(fail)
    gate.open.set()
    slots.submit(gate.body)
    wait_until(lambda: gate.ended == ["done"])
    assert "outside of the task" in caplog.text


def test_a_thread_that_could_not_be_started_is_started_later(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    slots = Slots(1)
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            slots.submit(gate.body)
    slots.submit(gate.body)
    wait_until(lambda: slots.busy == 1, 5)
    gate.open.set()
    assert slots.drain(SlotLost(), grace=5, patience=0)


def test_drain_waits_for_running_tasks_and_stops_those_that_wait() -> None:
    slots, running, waiting = Slots(1), Gate(), Gate()
    slots.submit(running.body)
    running.wait_started(1)
    slots.submit(waiting.body)
    threading.Timer(0.1, running.open.set).start()
    assert slots.drain(SlotLost(), grace=5, patience=5)
    assert running.ended == ["done"]
    assert [type(end) for end in waiting.ended] == [SlotLost]


def test_drain_stops_at_the_next_check_what_outlasts_its_grace(gate: Gate) -> None:
    slots = Slots(2)
    slots.submit(gate.body)
    slots.submit(gate.body)
    gate.wait_started(2)
    assert slots.drain(SlotLost(), grace=0.05, patience=5)
    assert [type(end) for end in gate.ended] == [SlotLost, SlotLost]


def test_drain_leaves_a_thread_behind_that_never_checks(gate: Gate) -> None:
    slots = Slots(1)
    stuck = threading.Event()

    def body(_: Slot) -> None:
        stuck.wait(5)

    slots.submit(body)
    wait_until(lambda: slots.busy == 1)
    assert not slots.drain(SlotLost(), grace=0, patience=0.05)
    stuck.set()


def test_a_second_drain_cuts_the_grace_of_the_first(gate: Gate) -> None:
    slots, drained = Slots(1), threading.Event()
    slots.submit(gate.body)
    gate.wait_started(1)

    def drain() -> None:
        if slots.drain(SlotLost(), grace=60, patience=5):
            drained.set()

    first = threading.Thread(target=drain)
    first.start()
    assert slots.drain(SlotLost(), grace=0, patience=5)
    first.join(5)
    assert drained.is_set()


def test_a_task_submitted_after_the_drain_is_stopped(gate: Gate) -> None:
    slots = Slots(1)
    assert slots.drain(SlotLost(), grace=0, patience=0)
    slots.submit(gate.body)
    wait_until(lambda: [type(end) for end in gate.ended] == [SlotLost])


def test_only_the_first_caller_may_report_the_end_of_a_task() -> None:
    slot = Slot()
    assert [slot.settle(), slot.settle()] == [True, False]
