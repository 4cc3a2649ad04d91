"""What keys do in `top`, without a terminal."""

from __future__ import annotations

import pytest

from whisper_fleet.cli.top.screen import parsed_keys
from whisper_fleet.cli.top.snapshot import JobLine
from whisper_fleet.cli.top.view import Action, Key, Mode, Order, View, press


def line(job: str, file: str, *, accepted: float = 0.0, done: float = 0.0, tenant: str = "") -> JobLine:
    return JobLine(
        job=job, file=file, tenant=tenant, accepted=accepted, seconds_done=done, seconds_total=10.0, eta=None, text=""
    )


JOBS = [
    line("1", "beta.mp3", accepted=1.0, done=9.0),
    line("2", "Alpha.mp3", accepted=3.0, done=1.0, tenant="radio"),
    line("3", "gamma.wav", accepted=2.0, done=5.0),
]


def pressed(*keys: str, view: View | None = None) -> tuple[View, Action]:
    view, action = view or View(), Action()
    for key in keys:
        view, action = press(view, key, JOBS)
    return view, action


@pytest.mark.parametrize(
    ("order", "ids"),
    [(Order.NEWEST, "231"), (Order.OLDEST, "132"), (Order.PROGRESS, "132"), (Order.NAME, "213")],
)
def test_jobs_are_sorted_by_the_chosen_order(order: Order, ids: str) -> None:
    assert "".join(job.job for job in View(order=order).shown(JOBS)) == ids


def test_s_goes_through_all_orders_and_returns_to_the_first() -> None:
    seen = [pressed(*"s" * times)[0].order for times in range(len(Order) + 1)]
    assert seen == [*Order, Order.NEWEST]


def test_a_filter_is_typed_edited_kept_and_cleared() -> None:
    view, _ = pressed("/", *"mp4", Key.BACKSPACE, "3", Key.ENTER)
    assert (view.filter, view.mode, [job.job for job in view.shown(JOBS)]) == ("mp3", Mode.NORMAL, ["2", "1"])
    assert pressed(Key.ESCAPE, view=view)[0].filter == ""
    assert [job.job for job in pressed("/", *"RADIO")[0].shown(JOBS)] == ["2"]


def test_q_quits_except_in_a_filter() -> None:
    assert pressed("q")[1].quits
    view, action = pressed("/", "q")
    assert (view.filter, action.quits) == ("q", False)


def test_arrows_select_within_what_is_shown() -> None:
    assert pressed(Key.DOWN)[0].selected == "2"
    assert pressed(Key.DOWN, Key.DOWN, Key.DOWN, Key.DOWN)[0].selected == "1"
    assert pressed(Key.DOWN, Key.DOWN, Key.UP, Key.UP)[0].selected == "2"
    assert pressed("/", *"nothing", Key.ENTER, Key.DOWN)[0].selected is None


def test_a_job_is_cancelled_only_after_it_is_selected_and_confirmed() -> None:
    assert pressed("c", "y")[1].cancels is None
    assert pressed(Key.DOWN, "c")[1].cancels is None
    assert pressed(Key.DOWN, "c", "y")[1].cancels == "2"
    view, action = pressed(Key.DOWN, "c", "n")
    assert (view.mode, action.cancels) == (Mode.NORMAL, None)


def test_a_selected_job_that_the_filter_hides_is_not_cancelled() -> None:
    view, _ = pressed(Key.DOWN, "/", *"gamma", Key.ENTER, "c")
    assert view.mode is Mode.NORMAL


def test_keys_that_arrive_together_are_distinguished() -> None:
    assert parsed_keys("a\x1b[A\x1bOB\x7f\r\x1b") == ["a", Key.UP, Key.DOWN, Key.BACKSPACE, Key.ENTER, Key.ESCAPE]
    assert parsed_keys("é中") == ["é", "中"]
