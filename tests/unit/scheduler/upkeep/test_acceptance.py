"""Requests that no intake accepts are noticed, and an intake that is only busy is not accused."""

from __future__ import annotations

from dataclasses import replace

from whisper_fleet.scheduler.upkeep.acceptance import Stall, stall_after

LOOK = Stall(since=100.0, waiting=5, accepted=40, intakes=1)


def test_nothing_waits_so_nothing_stalls() -> None:
    assert stall_after(LOOK, replace(LOOK, waiting=0)) is None


def test_it_lasts_while_the_queue_grows_and_nothing_is_accepted() -> None:
    stall = stall_after(LOOK, replace(LOOK, since=150.0, waiting=9))
    assert stall is not None
    assert (stall.since, stall.waiting) == (100.0, 9)
    assert not stall.is_reportable(159.0)
    assert stall.is_reportable(160.0)
    assert stall.describe(160.0).startswith("9 requests wait, and intake has accepted none for 60 s: its processes")


def test_it_begins_anew_when_a_request_is_accepted_or_the_queue_shrinks() -> None:
    for look in (replace(LOOK, since=150.0, accepted=41), replace(LOOK, since=150.0, waiting=4)):
        assert stall_after(LOOK, look) == look


def test_without_an_intake_it_is_reported_soon() -> None:
    alone = replace(LOOK, waiting=1, intakes=0)
    assert not alone.is_reportable(105.0)
    assert alone.is_reportable(110.0)
    assert alone.describe(110.0) == (
        "1 request waits, and intake has accepted none for 10 s: no intake is up: start one, with `whisper-fleet up`"
    )
