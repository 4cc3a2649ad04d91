"""The screen of `top` at every size: nothing wider or longer than it, and what matters is on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from whisper_fleet.cli.top.rendering import render
from whisper_fleet.cli.top.snapshot import FailureLine, GpuLine, JobLine, TopSnapshot
from whisper_fleet.cli.top.view import Mode, View

GIB = 2**30


def gpu(index: int, *, is_up: bool = True) -> GpuLine:
    return GpuLine(
        id=f"a-host-with-a-long-name.{index}",
        host="a-host-with-a-long-name",
        is_up=is_up,
        slots=256,
        busy=255,
        rows=203,
        used_bytes=23 * GIB,
        total_bytes=80 * GIB,
        speed=1728.4,
    )


def job(number: int, name: str = "talk.mp3") -> JobLine:
    return JobLine(
        job=f"5f1c7f0a-0000-4000-8000-{number:012}",
        file=f"{number}-{name}",
        tenant="",
        accepted=float(number),
        seconds_done=450.0,
        seconds_total=1800.0,
        eta=95.0,
        text=f"the text of number {number} " * 20 + "ends here",
    )


SNAPSHOT = TopSnapshot(
    at=1000.0,
    gpus=(gpu(0), gpu(1, is_up=False)),
    jobs=tuple(map(job, range(3))),
    failures=(FailureLine(job="f", file="bad.mp3", ended=940.0, error="CorruptAudio: nothing could be decoded"),),
    jobs_waiting=14,
    segments_waiting=1330,
    seconds_waiting=4 * 3600.0,
    jobs_failed=7,
)


def screen(snapshot: TopSnapshot = SNAPSHOT, view: View | None = None, width: int = 60, height: int = 24) -> list[str]:
    return [line.plain for line in render(snapshot, view or View(), width, height)]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("height", [8, 24, 60])
@pytest.mark.parametrize("many", [0, 1, 200])
def test_every_screen_is_filled_and_nothing_is_wider(width: int, height: int, many: int) -> None:
    names = ("talk.mp3", "演讲录音" * 20 + ".wav", "word " * 40)
    jobs = tuple(job(number, names[number % 3]) for number in range(many))
    crowded = replace(SNAPSHOT, gpus=tuple(map(gpu, range(many))), jobs=jobs, problem="something is wrong " * 9)
    lines = screen(crowded, width=width, height=height)
    assert len(lines) == height
    assert max(cell_len(line) for line in lines) <= width
    assert lines[-1].startswith("q quit")


def test_sixty_columns_show_gpus_backlog_jobs_text_and_failures() -> None:
    text = "\n".join(screen())
    for part in ("1 host, 1 of 2 GPUs up", "1,728x", "waiting 14 jobs, 1,330 segments, 4.0 h", "failed 7"):
        assert part in text
    for part in ("255/256", "203", "23.0/80.0", "down", "2-talk.mp3", "25% of 30 min", "95 s left", "ends here"):
        assert part in text
    assert "bad.mp3, 60 s ago: CorruptAudio" in text


def test_the_speed_of_the_fleet_is_that_of_the_gpus_that_are_up() -> None:
    assert SNAPSHOT.speed == 1728.4


def test_the_selected_job_is_on_the_screen_with_its_id() -> None:
    crowded = replace(SNAPSHOT, jobs=tuple(map(job, range(100))))
    lines = screen(crowded, View(selected=job(3).job))
    assert any(job(3).job in line for line in lines)
    assert any("more" in line for line in lines)


def test_a_question_names_the_job_that_would_be_cancelled() -> None:
    question = screen(view=View(selected=job(1).job, mode=Mode.CONFIRM))[-1]
    assert question == "1-talk.mp3 - cancel this job? y/n"
    assert "filter: mp3_" in screen(view=View(filter="mp3", mode=Mode.FILTER))[-1]


def test_a_filter_says_how_many_jobs_it_hides() -> None:
    assert any(line.startswith("running: 1 of 3 match '2-talk'") for line in screen(view=View(filter="2-talk")))


def test_without_a_height_every_job_is_listed_and_there_are_no_keys() -> None:
    lines = [line.plain for line in render(replace(SNAPSHOT, jobs=tuple(map(job, range(50)))), View(), 120)]
    assert sum("talk.mp3" in line for line in lines) == 50
    assert not any("q quit" in line for line in lines)


def test_a_fleet_without_gpus_says_what_to_do() -> None:
    assert any("whisper-fleet doctor" in line for line in screen(TopSnapshot(at=0.0)))
