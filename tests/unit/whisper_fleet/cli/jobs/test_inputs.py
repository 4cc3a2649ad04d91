"""What a user names becomes files to submit, and nothing is left out silently."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from whisper_fleet.cli.jobs.inputs import Input, expand, has_output, output_of, read_list


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of talks, some of them below another; the working directory is next to it."""
    for name in ("one.mp3", "two.WAV", "notes.txt", ".hidden.mp3", "monday/three.m4a", ".git/four.mp3"):
        file = tmp_path / "talks" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "talks"


def test_a_directory_stands_for_the_audio_below_it(talks: Path) -> None:
    assert list(expand(["talks"])) == [
        Input(file=str(talks / "monday/three.m4a"), folder=Path("monday")),
        Input(file=str(talks / "one.mp3")),
        Input(file=str(talks / "two.WAV")),
    ]


def test_a_pattern_stands_for_what_it_matches_below_directories_too(talks: Path) -> None:
    assert [item.file for item in expand(["talks/*.mp3"])] == [str(talks / "one.mp3")]
    assert [item.file for item in expand([f"{talks}/**/*.m4a"])] == [str(talks / "monday/three.m4a")]


def test_a_file_with_brackets_in_its_name_is_no_pattern(talks: Path) -> None:
    (talks / "My talk [dQw4].mp3").touch()
    assert [item.file for item in expand(["talks/My talk [dQw4].mp3"])] == [str(talks / "My talk [dQw4].mp3")]


def test_a_url_and_a_path_of_another_machine_stay_as_they_are(talks: Path) -> None:
    named = ["https://example.com/a*.mp3", "/elsewhere/b.mp3"]
    assert [item.file for item in expand(named)] == named


@pytest.mark.parametrize(("name", "problem"), [("talks/*.flac", "nothing matches"), ("empty", "no audio or video")])
def test_a_name_that_stands_for_no_file_is_an_error(talks: Path, name: str, problem: str) -> None:
    (talks.parent / "empty").mkdir()
    with pytest.raises(click.UsageError, match=problem):
        list(expand([name]))


def test_a_list_holds_one_name_per_line(talks: Path) -> None:
    (talks.parent / "list").write_text("talks/one.mp3\n\n  /elsewhere/a b.mp3 \n")
    assert read_list("list") == ["talks/one.mp3", "/elsewhere/a b.mp3"]


def test_transcripts_go_where_the_user_wants_them_and_keep_the_structure_of_a_directory() -> None:
    item = Input(file="/in/monday/a.mp3", folder=Path("monday"))
    assert output_of(item, None, next_to_input=False) is None
    assert output_of(item, "/out", next_to_input=False) == "/out/monday"
    assert output_of(item, None, next_to_input=True) == "/in/monday"


def test_a_file_is_done_when_it_has_every_format_that_is_wanted(tmp_path: Path) -> None:
    item = Input(file="/in/a.mp3")
    (tmp_path / "a.srt").touch()
    assert has_output(item, str(tmp_path), ["srt"])
    assert not has_output(item, str(tmp_path), ["srt", "txt"])
    assert not has_output(item, str(tmp_path), [])  # every format
    assert has_output(item, str(tmp_path / "a.srt"), [])
