"""An engine is frozen if it neither answers nor computes at several looks in a row."""

from __future__ import annotations

from whisper_fleet.workers.node.engine_monitor import LOOKS, FreezeDetector, Look


def looks(detector: FreezeDetector, *seen: tuple[float, float, float]) -> list[bool]:
    return [detector.is_frozen(Look(at=at, answered=answered, cpu_seconds=cpu)) for at, answered, cpu in seen]


def test_an_engine_that_neither_answers_nor_computes_is_frozen_after_four_intervals() -> None:
    assert LOOKS == 4
    detector = FreezeDetector(2.0)
    assert looks(detector, *((2.0 * step, 1.0, 7.5) for step in range(5))) == [False] * 4 + [True]


def test_an_engine_that_answers_or_computes_is_not_frozen() -> None:
    detector = FreezeDetector(2.0)
    assert not any(looks(detector, *((2.0 * step, 2.0 * step, 7.5) for step in range(20))))
    assert not any(looks(detector, *((2.0 * step, 1.0, 7.5 + step) for step in range(20))))


def test_a_sign_between_two_looks_starts_the_count_again() -> None:
    detector = FreezeDetector(2.0)
    assert not any(looks(detector, *((2.0 * step, 1.0, float(step // 4)) for step in range(20))))


def test_looks_in_quick_succession_count_as_one() -> None:
    detector = FreezeDetector(2.0)
    assert not any(looks(detector, *((0.1 * step, 1.0, 7.5) for step in range(20))))


def test_a_long_pause_of_the_machine_is_one_look() -> None:
    detector = FreezeDetector(2.0)
    assert looks(detector, (0.0, 0.0, 7.5), (600.0, 0.0, 7.5), (602.0, 601.0, 7.5)) == [False] * 3


def test_an_engine_that_ended_is_not_frozen() -> None:
    detector = FreezeDetector(2.0)
    looks(detector, *((2.0 * step, 1.0, 7.5) for step in range(5)))
    assert not detector.is_frozen(None)
