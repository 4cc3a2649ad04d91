"""Results of segments become one transcript."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whisper_fleet.scheduler.intake.assembly import merge
from whisper_fleet.scheduler.intake.delivery import write_files
from whisper_fleet.scheduler.intake.writers import target_of
from whisper_fleet.shared.errors import OutputNotWritable
from whisper_fleet.shared.formats import FORMATS
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import Transcript, segments_from_whisper
from whisper_fleet.shared.wire import SegmentPlan, SegmentResult, TranscribeRequest


def piece(index: int, start: float, end: float, text: str, language: str = "en", **segment: Any) -> Any:
    numbers = {"temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.1}
    spoken = {"id": 0, "seek": 0, "start": 1.0, "end": 2.5, "text": text, "tokens": [7], **numbers, **segment}
    segments = segments_from_whisper([spoken] if text else [])
    result = SegmentResult(
        text=text, language=language, segments=segments, gpu="h.0", decode_seconds=1, transcribe_seconds=1
    )
    return SegmentPlan(index=index, start=start, end=end), result


def merged(*pieces: Any) -> dict[str, Any]:
    plans, results = zip(*pieces, strict=True)
    return merge(plans, results).to_dict()


def transcript(*pieces: Any) -> Transcript:
    plans, results = zip(*pieces, strict=True)
    return merge(plans, results)


def test_times_become_relative_to_the_file_and_numbers_run_through() -> None:
    words = [{"word": " Two", "start": 1.0, "end": 1.2, "probability": 0.5}]
    whole = merged(piece(0, 0.0, 290.52, " One."), piece(1, 290.52, 400.0, " Two.", words=words))
    first, second = whole["segments"]
    assert (first["id"], first["start"], first["end"], first["seek"]) == (0, 1.0, 2.5, 0)
    assert (second["id"], second["start"], second["end"], second["seek"]) == (1, 291.52, 293.02, 29052)
    assert second["words"] == [{"word": " Two", "start": 291.52, "end": 291.72, "probability": 0.5}]
    assert whole["text"] == " One. Two."  # as whisper begins it


def test_nothing_lasts_into_the_next_piece() -> None:
    words = [{"word": " One.", "start": 2.1, "end": 2.5, "probability": 0.5}]
    whole = merged(piece(0, 0.0, 2.00004, " One.", words=words), piece(1, 2.00004, 4.0, " Two."))
    first, second = whole["segments"]
    assert (first["start"], first["end"]) == (1.0, 2.0)
    assert (first["words"][0]["start"], first["words"][0]["end"]) == (2.0, 2.0)
    assert (second["start"], second["end"]) == (3.0, 4.5)  # at the file's end it is as whisper gives it


def test_what_whisper_gave_is_not_changed() -> None:
    plan, result = piece(1, 100.0, 200.0, " Two.")
    merge([plan], [result])
    assert result.segments[0].start == 1.0


def test_silence_is_an_empty_transcript() -> None:
    assert merged(piece(0, 0.0, 9.0, "")) == {"text": "", "segments": [], "language": "en"}


def test_the_language_is_that_of_the_first_piece_as_whisper_detects_it() -> None:
    pieces = [piece(0, 0.0, 9.0, " Hallo.", "de"), piece(1, 9.0, 600.0, " you", "en")]
    assert merged(*pieces)["language"] == "de"


def test_files_are_named_for_the_input(tmp_path: Path) -> None:
    target = target_of(request(file_path="/in/talk.one.mp3", output_path=str(tmp_path / "out")))
    assert target is not None
    written = target.write(transcript(piece(0, 0.0, 9.0, " Hello.")))
    assert [Path(file).name for file in written] == [f"talk.one.{form}" for form in FORMATS]
    assert (tmp_path / "out" / "talk.one.txt").read_text() == "Hello.\n"
    names = [*(Path(file).name for file in written), ".talk.one.whisper-fleet"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)


def test_an_output_path_that_names_a_file_is_that_file(tmp_path: Path) -> None:
    target = target_of(request(file_path="/in/talk.mp3", output_path=str(tmp_path / "minutes.srt")))
    assert target is not None
    assert target.write(transcript(piece(0, 0.0, 9.0, " Hello."))) == [str(tmp_path / "minutes.srt")]


def test_without_an_output_path_nothing_is_written() -> None:
    assert target_of(request(file_path="/in/talk.mp3")) is None


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = target_of(request(file_path="/in/talk.mp3", output_path=str(tmp_path / "file" / "out")))
    assert target is not None
    with pytest.raises(OutputNotWritable, match="file/out"):
        target.prepare()


def request(**fields: Any) -> TranscribeRequest:
    return TranscribeRequest(**{"model_name": "base", **fields})


@pytest.mark.parametrize("name", ["track #1", "what?", "50% [x]; y&z", "Grüße 日本"])
def test_files_are_named_for_the_input_whatever_characters_it_has(tmp_path: Path, name: str) -> None:
    target = target_of(request(file_path=f"/in/{name}.mp3", output_path=str(tmp_path)))
    assert target is not None and target.stem == name


def test_the_file_of_a_url_is_named_without_its_query(tmp_path: Path) -> None:
    target = target_of(request(file_path="https://h/a/talk.mp3?key=/x#y", output_path=str(tmp_path)))
    assert target is not None and target.stem == "talk"


def test_a_name_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    long = target_of(request(file_path=f"/in/{'n' * 251}.mp3", output_path=str(tmp_path)))
    assert long is not None
    with pytest.raises(OutputNotWritable, match="too long"):
        long.prepare()
    (tmp_path / "talk.srt").mkdir()
    taken = target_of(request(file_path="/in/talk.mp3", output_path=str(tmp_path)))
    assert taken is not None
    with pytest.raises(OutputNotWritable, match="directory"):
        taken.prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["talk.srt"]


def write(file: str, folder: Path, text: str = " Hello.", **fields: Any) -> list[str]:
    """Write the transcript of a file into a folder, and return the names."""
    target = target_of(request(file_path=file, output_path=str(folder), **{"formats": ("txt",), **fields}))
    assert target is not None
    return [Path(name).name for name in target.write(transcript(piece(0, 0.0, 9.0, text)))]


def test_inputs_of_one_stem_get_a_name_each_and_keep_it(tmp_path: Path) -> None:
    assert write("/monday/talk.wav", tmp_path, " Monday.") == ["talk.txt"]
    assert write("/tuesday/talk.wav", tmp_path, " Tuesday.") == ["talk-2.txt"]
    assert write("/tuesday/talk.wav", tmp_path, " Tuesday again.", formats=("txt", "srt")) == [
        "talk-2.txt",
        "talk-2.srt",
    ]
    assert write("/wednesday/talk.wav", tmp_path, formats=("srt",)) == ["talk-3.srt"]
    assert write("/monday/talk.wav", tmp_path, " Monday again.") == ["talk.txt"]
    assert (tmp_path / "talk.txt").read_text() == "Monday again.\n"
    assert (tmp_path / "talk-2.txt").read_text() == "Tuesday again.\n"


@pytest.mark.parametrize("output", ["", "talk.txt"])
def test_the_file_of_somebody_else_is_never_replaced(tmp_path: Path, output: str) -> None:
    (tmp_path / "talk.txt").write_text("my notes")
    (tmp_path / "talk-2.txt").symlink_to("nowhere")
    assert write("/in/talk.wav", tmp_path / output) == ["talk-3.txt"]
    assert (tmp_path / "talk.txt").read_text() == "my notes"
    assert write("/in/talk.wav", tmp_path / output) == ["talk-3.txt"]


def test_a_marker_that_cannot_be_trusted_belongs_to_another_input(tmp_path: Path) -> None:
    (tmp_path / ".talk.whisper-fleet").symlink_to("/etc/hostname")
    (tmp_path / ".talk-2.whisper-fleet").touch()  # of a process that was killed
    (tmp_path / ".talk-3.whisper-fleet").mkdir()
    assert write("/in/talk.wav", tmp_path) == ["talk-4.txt"]


def test_a_long_name_has_a_marker_too(tmp_path: Path) -> None:
    name = "n" * 250
    assert write(f"/in/{name}.mp3", tmp_path) == [f"{name}.txt"]
    assert write(f"/in/{name}.mp3", tmp_path) == [f"{name}.txt"]


def test_a_folder_of_that_name_is_left_alone_too(tmp_path: Path) -> None:
    (tmp_path / "talk.srt").mkdir()
    target = target_of(request(file_path="/in/talk.wav", output_path=str(tmp_path), formats=("txt", "srt")))
    assert target is not None
    written = target.write(transcript(piece(0, 0.0, 9.0, " Hello.")))
    assert [Path(file).name for file in written] == ["talk-2.txt", "talk-2.srt"]


def test_a_folder_that_is_gone_is_reported_and_the_transcript_stays(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    asked = request(file_path="/in/talk.wav", output_path=str(tmp_path / "out"))
    errors: list[str] = []
    assert write_files(asked, transcript(piece(0, 0.0, 9.0, " Hello.")), Settings(), errors) == []
    (error,) = errors
    assert "cannot be written" in error
