"""The list of jobs fits the terminal, and shows what people look for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from whisper_fleet.cli.terminal.job_list import job_lines, list_lines, shortened
from whisper_fleet.shared.ledger.records import JobRecord
from whisper_fleet.shared.wire import JobProgress, JobState, TranscribeRequest

JOB = "0f0e9b0a-6c4e-4b7e-9a53-0a1f6f2f7d11"
#: A request refuses a path with a NUL.
PATH_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
LONG = "/in/Annual general meeting 2026, part one of three, with questions.mp3"


def job(
    file: str = LONG, state: JobState = JobState.RUNNING, error: str | None = None
) -> tuple[JobRecord, JobProgress]:
    record = JobRecord(
        job=JOB,
        state=state,
        request=TranscribeRequest(file_path=file, model_name="base"),
        accepted=1.0,
        planned=2.0,
        started=3.0,
        ended=None,
        duration=300.0,
        segments_total=2,
        segments_done=0,
        seconds_done=12.0,
        error_type=error,
        error=error and f"{file} is not there",
    )
    return record, record.progress(4.0)


def test_at_80_columns_a_line_shows_both_ends_of_the_name_the_state_and_the_id() -> None:
    (line,) = list_lines([job()], 80)
    assert cell_len(line) <= 80
    assert line.startswith("Annual") and "….mp3" not in line and ".mp3 " in line
    assert "  transcribing, 12 of 300 s  " in line and line.endswith(JOB)


def test_at_60_columns_the_id_has_a_line_of_its_own() -> None:
    first, second = list_lines([job()], 60)
    assert first.startswith("Annual general") and "transcribing, 12 of 300 s" in first and cell_len(first) <= 60
    assert second == f"  {JOB}"


def test_in_a_pipe_nothing_is_shortened() -> None:
    lines = list_lines([job(), job("/b.wav", JobState.FAILED, "FileMissing")], None)
    assert LONG.removeprefix("/in/") in lines[0] and "failed: FileMissing" in lines[1]
    assert lines[0].index(JOB) == lines[1].index(JOB)


@given(
    st.lists(st.text(PATH_CHARACTERS, min_size=1, max_size=90).map("/in/{}".format), min_size=1, max_size=4),
    st.integers(40, 200),
    st.sampled_from(JobState),
)
def test_no_line_is_wider_than_the_terminal(files: list[str], width: int, state: JobState) -> None:
    lines = list_lines([job(file, state, "CallbackNotAllowed") for file in files], width)
    assert all(cell_len(line) <= width for line in lines)
    assert sum(JOB in line for line in lines) == len(files)


@given(st.text(), st.integers(1, 40))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, cells: int) -> None:
    short = shortened(text, cells)
    assert cell_len(short) <= max(cells, 1)
    assert short == text if cell_len(text) <= cells else "…" in short


def test_wide_characters_count_twice() -> None:
    assert shortened("年度股东大会录音.mp3", 12) == "年度股….mp3"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (JobState.ACCEPTED, "accepted"),
        (JobState.RUNNING, "transcribing, 12 of 300 s"),
        (JobState.DONE, "done, 300 s"),
        (JobState.CANCELLED, "cancelled"),
    ],
)
def test_one_job_is_shown_in_full(state: JobState, shown: str) -> None:
    lines = job_lines(*job("/in/" + 40 * "long/" + "\x1b[2J.mp3", state))
    assert lines[:3] == ["file   /in/" + 40 * "long/" + "\\x1b[2J.mp3", f"job    {JOB}", f"state  {shown}"]


def test_a_failed_job_is_shown_with_its_error() -> None:
    lines = job_lines(*job("/a.wav", JobState.FAILED, "FileMissing"))
    assert "error  FileMissing: /a.wav is not there" in lines
