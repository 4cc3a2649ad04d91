"""Real speech through Redis, Celery, a pinned queue and the engine, with real Whisper base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import whisper

from tests.support.fleet_processes import FleetProcesses
from tests.support.speech_files import convert, pause, samples, word_errors, words, write_wav

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(400)]

#: Of a segment; probabilities differ in the last digits, for many windows are computed at once.
SAME = ("id", "seek", "start", "end", "text", "tokens", "temperature")

FORMATS = {
    "talk.mp3": ("-ac", "2", "-ar", "44100"),
    "talk.m4a": ("-c:a", "aac"),
    "talk.flac": (),
    "talk.ogg": ("-c:a", "libopus"),
    "talk.webm": ("-c:a", "libopus"),
    "film.mp4": ("-f", "lavfi", "-i", "color=size=64x64:rate=5", "-shortest"),
    "stereo.wav": ("-ac", "2", "-ar", "44100"),
    "telephone.wav": ("-ar", "8000", "-c:a", "pcm_mulaw"),
}


def test_the_five_clips_are_heard_with_at_most_two_percent_of_words_wrong(
    fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path
) -> None:
    jobs = {
        clip: fleet.submit(file_path=clip, output_path=tmp_path / "out", formats=["txt", "json"]) for clip in speech
    }
    results = {clip: job.get(timeout=300) for clip, job in jobs.items()}
    heard = [words(results[clip]["text"]) for clip in speech]
    said = [words(text) for text in speech.values()]
    wrong = sum(word_errors(ours, theirs) for ours, theirs in zip(heard, said, strict=True))
    assert wrong / sum(map(len, said)) <= 0.02
    for clip, result in results.items():
        written = {Path(file).name: Path(file) for file in result["output_files"]}
        assert set(written) == {f"{clip.stem}.txt", f"{clip.stem}.json"}
        assert words(written[f"{clip.stem}.txt"].read_text()) == words(result["text"])
        assert json.loads(written[f"{clip.stem}.json"].read_text())["segments"] == result["segments"]
        assert result["language"] == "en"
        assert set(result["timings"]) >= {"waited", "decoded_audio", "transcribed", "total"}


def test_a_job_gives_what_whisper_itself_gives(
    fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path, base_model: Path
) -> None:
    file = write_wav(tmp_path / "two_windows.wav", pause(1).join(samples(clip) for clip in speech))
    result = fleet.submit(file_path=file, word_timestamps=True).get(timeout=300)
    model = whisper.load_model(str(base_model), device="cpu")
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS["base"])
    audio = np.frombuffer(samples(file), np.int16).astype(np.float32) / 32768
    expected = whisper.transcribe(model, audio, fp16=False, word_timestamps=True)
    assert (result["text"], result["language"]) == (expected["text"], expected["language"])
    assert len(result["segments"]) == len(expected["segments"]) > 1
    for ours, own in zip(result["segments"], expected["segments"], strict=True):
        assert {name: ours[name] for name in SAME} == {name: own[name] for name in SAME}
        assert timed(ours) == timed(own)


def timed(segment: dict[str, Any]) -> list[tuple[str, float, float]]:
    """When each word of a segment was said."""
    return [(word["word"], word["start"], word["end"]) for word in segment["words"]]


def test_every_usual_format_is_heard(fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path) -> None:
    clip, text = next(iter(speech.items()))
    files = {name: convert(clip, tmp_path / name, *options) for name, options in FORMATS.items()}
    jobs = {name: fleet.submit(file_path=file, language="en") for name, file in files.items()}
    for name, job in jobs.items():
        heard = words(job.get(timeout=300)["text"])
        assert word_errors(heard, words(text)) <= 1, (name, heard)


def test_silence_is_an_empty_transcript(fleet: FleetProcesses, tmp_path: Path) -> None:
    job = fleet.submit(file_path=write_wav(tmp_path / "silence.wav", pause(20)), language="en")
    result = job.get(timeout=200)
    assert (result["text"], result["segments"]) == ("", [])


def test_a_client_sees_progress_move(fleet: FleetProcesses, speech: dict[Path, str], tmp_path: Path) -> None:
    spoken = pause(1).join(samples(clip) for clip in speech) * 4
    seen: list[float] = []
    job = fleet.submit(file_path=write_wav(tmp_path / "two_minutes.wav", spoken), language="en")

    def look(message: dict[str, object]) -> None:
        if message["status"] == "PROGRESS":
            seen.append(message["result"]["seconds_done"])  # type: ignore[index]

    job.get(timeout=300, on_message=look)
    assert len(set(seen)) >= 3
    assert seen == sorted(seen)
