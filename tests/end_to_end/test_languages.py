"""A file has one language, whatever its segments sound like: the one that stock Whisper finds on the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import whisper
from numpy.typing import NDArray
from whisper.audio import N_FRAMES, N_SAMPLES, SAMPLE_RATE, log_mel_spectrogram, pad_or_trim

from tests.support.fleet_processes import FleetProcesses
from tests.support.foreign_talks import Break, heard_after, samples_of, talk
from tests.support.plan_audio import plan_audio
from tests.support.speech_files import word_errors

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(1800)]

#: Retries sample at random. After a cut, windows begin elsewhere than in the file, and base then hears other words; so
#: stock transcribes the same pieces.
COMPARABLE = {"temperature": 0.0, "condition_on_previous_text": False}


def language_of(model: Any, audio: NDArray[np.float32]) -> str:
    """Return the language as whisper.transcribe() finds it on a file."""
    mel = log_mel_spectrogram(audio, model.dims.n_mels, padding=N_SAMPLES)
    _, probabilities = model.detect_language(pad_or_trim(mel, N_FRAMES))
    return str(max(probabilities, key=probabilities.__getitem__))


def check(fleet: FleetProcesses, model: Any, file: Path, duration: float) -> dict[str, Any]:
    """Transcribe a file in segments: each must be as stock transcribes it in the language of the file."""
    result: dict[str, Any] = fleet.submit(file_path=file, segment_duration=duration, **COMPARABLE).get(timeout=900)
    audio = samples_of(file)
    language = language_of(model, audio)
    assert (result["language"], result["language_probability"] > 0.5) == (language, True)
    plans = plan_audio(str(file), "by-hand", duration, fleet.settings).segments
    pieces = [audio[round(plan.start * SAMPLE_RATE) : round(plan.end * SAMPLE_RATE)] for plan in plans]
    assert len(pieces) == len(result["segment_gpus"])
    expected = [whisper.transcribe(model, piece, fp16=False, language=language, **COMPARABLE) for piece in pieces]
    assert result["text"] == "".join(piece["text"] for piece in expected)
    return result


def test_a_break_does_not_change_the_language(fleet: FleetProcesses, base_model: Path, tmp_path: Path) -> None:
    speech = talk(tmp_path / "talk.wav", "es", before=46, after=5, kind="silence")
    result = check(fleet, whisper.load_model(str(base_model), device="cpu"), speech.file, 60.0)
    assert len(result["segment_gpus"]) == 3
    assert word_errors(heard_after(result["segments"], speech), speech.said_after) <= len(speech.said_after) // 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silence", "noise", "tone"])
@pytest.mark.parametrize("language", ["es", "de", "fr"])
def test_what_follows_a_break_is_as_in_the_whole_file_wherever_it_is_cut(
    fleet: FleetProcesses, base_model: Path, tmp_path: Path, language: str, kind: Break
) -> None:
    speech = talk(tmp_path / "talk.wav", language, before=290, after=14, kind=kind)
    jobs = {
        duration: fleet.submit(file_path=speech.file, segment_duration=duration, precision="float32")
        for duration in (60.0, 300.0, 3600.0)
    }
    model = whisper.load_model(str(base_model), device="cpu")
    stock = whisper.transcribe(model, samples_of(speech.file), fp16=False)
    assert stock["language"] == language
    expected, said = heard_after(stock["segments"], speech), speech.said_after
    for duration, job in jobs.items():
        result = job.get(timeout=1500)
        assert (result["language"], result["language_probability"] > 0.5) == (language, True)
        heard = heard_after(result["segments"], speech)
        against_stock = word_errors(heard, expected) / len(expected)
        # Stock itself swallows words after a break, so what the fleet hears besides must have been said.
        more_than_stock = (word_errors(heard, said) - word_errors(expected, said)) / len(said)
        print(language, kind, duration, f"{against_stock:.3f} of stock's words differ, {more_than_stock:+.3f} wrong")
        assert against_stock <= 0.02 or more_than_stock <= 0
