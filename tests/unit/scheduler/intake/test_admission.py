"""What intake finds out about a request before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.scheduler.intake.admission import check_language, check_output
from whisper_fleet.shared.errors import BadOption, OutputNotWritable, PathNotAllowed
from whisper_fleet.shared.models import MODELS
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import TranscribeRequest


@pytest.mark.parametrize("model", ["tiny", "base", "large-v2"])
def test_a_language_that_came_after_the_model_is_refused(model: str) -> None:
    with pytest.raises(BadOption, match=f"the model {model} does not know 'yue'"):
        check_language("yue", model, MODELS[model])


@pytest.mark.parametrize(
    ("language", "model"), [("yue", "large-v3"), ("yue", "turbo"), ("su", "base"), ("en", "base"), ("fr", "base.en")]
)
def test_a_language_that_whisper_takes_with_the_model_is_none_of_intakes_business(language: str, model: str) -> None:
    check_language(language, model, MODELS[model])


def request(output_path: Path, name: str = "talk") -> TranscribeRequest:
    return TranscribeRequest(file_path=f"/in/{name}.mp3", model_name="base", output_path=str(output_path))


def test_an_output_directory_is_checked_without_being_made(tmp_path: Path) -> None:
    check_output(request(tmp_path / "a" / "b"), Settings())
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable, match="Not a directory"):
        check_output(request(tmp_path / "file" / "out"), Settings())
    with pytest.raises(OutputNotWritable, match="too long"):
        check_output(request(tmp_path, "n" * 251), Settings())
    with pytest.raises(PathNotAllowed):
        check_output(request(tmp_path / "out"), Settings(media_roots=(tmp_path / "media",)))
