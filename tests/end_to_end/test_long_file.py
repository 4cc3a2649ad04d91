"""A file of twenty minutes is cut at silence, and nothing is lost or said twice where it was cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.support.fleet_processes import FleetProcesses
from tests.support.speech_files import RATE, pause, samples, word_errors, words, write_wav

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(500)]

MINUTES = 20


def test_twenty_minutes_come_back_whole_and_in_order(
    fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path
) -> None:
    pieces, said = [], []
    length = 0
    for clip, text in itertools.cycle(speech.items()):
        if length >= MINUTES * 60 * RATE * 2:
            break
        piece = samples(clip) + pause(0.8)
        length += len(piece)
        pieces.append(piece)
        said += words(text)
    file = write_wav(tmp_path / "twenty_minutes.wav", b"".join(pieces))

    result = fleet.submit(file_path=file, language="en", condition_on_previous_text=False).get(timeout=450)

    assert result["duration_s"] == pytest.approx(length / 2 / RATE, abs=0.01)
    assert len(result["segment_gpus"]) >= 4
    times = [edge for segment in result["segments"] for edge in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert times[-1] <= result["duration_s"] + 0.1
    heard = words(result["text"])
    assert words("".join(segment["text"] for segment in result["segments"])) == heard
    assert word_errors(heard, said) / len(said) <= 0.03
