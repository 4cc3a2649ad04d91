"""A segment on its last attempt has the engine to itself; all others share it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.waiting import wait_until
from whisper_fleet.workers.node.admission import Admission, runs_alone


@pytest.mark.parametrize(
    ("attempt", "max_attempts", "alone"),
    [(1, 3, False), (2, 3, False), (3, 3, True), (4, 3, True), (1, 1, False), (2, 2, True)],
)
def test_the_last_attempt_runs_alone_unless_it_is_the_first(attempt: int, max_attempts: int, alone: bool) -> None:
    assert runs_alone(attempt, max_attempts) == alone


class Visitor:
    """A segment in a thread of its own; it stays inside until the test lets it go."""

    def __init__(self, admission: Admission, *, alone: bool) -> None:
        self.is_inside = False
        self.gave_up = False
        self.waits = False
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(admission, alone))
        self._thread.start()

    def _visit(self, admission: Admission, alone: bool) -> None:
        try:
            with admission.entered(alone=alone, while_waiting=self._still_wanted):
                self.is_inside = True
                self._leave.wait()
                self.is_inside = False
        except TimeoutError:
            self.gave_up = True

    def _still_wanted(self) -> None:
        self.waits = True
        if self._leave.is_set():
            raise TimeoutError

    def leave(self) -> None:
        self._leave.set()
        self._thread.join()


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Visitor]]:
    monkeypatch.setattr("whisper_fleet.workers.node.admission._WAIT_INTERVAL", 0.01)
    admission = Admission()
    with ExitStack() as stack:

        def visit(alone: bool) -> Visitor:
            visitor = Visitor(admission, alone=alone)
            stack.callback(visitor.leave)
            return visitor

        yield visit


def test_most_segments_are_admitted_together(visit: Callable[[bool], Visitor]) -> None:
    visitors = [visit(False) for _ in range(5)]
    wait_until(lambda: all(visitor.is_inside for visitor in visitors))


def test_a_segment_that_must_be_alone_waits_for_the_others_and_goes_before_later_ones(
    visit: Callable[[bool], Visitor],
) -> None:
    first = visit(False)
    wait_until(lambda: first.is_inside)
    loners = [visit(True), visit(True)]
    wait_until(lambda: all(loner.waits for loner in loners))
    later = visit(False)
    assert not any(visitor.is_inside for visitor in (*loners, later))
    first.leave()
    for _ in range(2):
        wait_until(lambda: any(loner.is_inside for loner in loners))
        assert sum(loner.is_inside for loner in loners) == 1
        assert not later.is_inside
        next(loner for loner in loners if loner.is_inside).leave()
    wait_until(lambda: later.is_inside)


def test_a_segment_that_gives_up_waiting_blocks_no_other(visit: Callable[[bool], Visitor]) -> None:
    first = visit(False)
    wait_until(lambda: first.is_inside)
    loner = visit(True)
    wait_until(lambda: loner.waits)
    later = visit(False)
    loner.leave()
    assert loner.gave_up
    wait_until(lambda: later.is_inside)
