"""A file has one language, whatever its segments sound like: the one that stock Whisper finds on the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import whisper

from tests.support.fleet_processes import FleetProcesses
from tests.support.foreign_talks import Break, samples_of, talk
from tests.support.speech_files import word_errors, words

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]

#: Of the words after the break, against stock on the file. A cut may cost a word: the prompt does not cross it.
MOST_WRONG = 0.02


def words_after(segments: Iterable[Mapping[str, Any]], seconds: float) -> list[str]:
    return words("".join(segment["text"] for segment in segments if segment["start"] >= seconds - 1))


def by_stock(base_model: Path, file: Path) -> dict[str, Any]:
    model = whisper.load_model(str(base_model), device="cpu")
    return dict(whisper.transcribe(model, samples_of(file), fp16=False))


def compare(fleet: FleetProcesses, base_model: Path, file: Path, end: float, durations: Iterable[float]) -> None:
    expected = by_stock(base_model, file)
    said = words_after(expected["segments"], end)
    for duration in durations:
        result = fleet.submit(file_path=file, segment_duration=duration).get(timeout=900)
        heard = words_after(result["segments"], end)
        assert result["language"] == expected["language"], duration
        assert 0.5 < result["language_probability"] <= 1
        assert len(said) > 20 and word_errors(heard, said) / len(said) <= MOST_WRONG, (duration, heard, said)


def test_a_break_does_not_change_the_language(fleet: FleetProcesses, base_model: Path, tmp_path: Path) -> None:
    file, end = talk(tmp_path / "talk.wav", "es", before=2, after=2, kind="silence")
    compare(fleet, base_model, file, end, [60.0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silence", "noise", "tone"])
@pytest.mark.parametrize("language", ["es", "de", "fr"])
def test_no_talk_changes_its_language_wherever_it_is_cut(
    fleet: FleetProcesses, base_model: Path, tmp_path: Path, language: str, kind: Break
) -> None:
    file, end = talk(tmp_path / "talk.wav", language, before=13, after=2, kind=kind)
    compare(fleet, base_model, file, end, [60.0, 300.0, 3600.0])
