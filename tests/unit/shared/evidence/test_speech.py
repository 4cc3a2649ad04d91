"""The voice activity detector on real speech, silence, noise and a tone."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import whisper_fleet
from whisper_fleet.scheduler.intake.cutters import cutter_of
from whisper_fleet.shared.evidence.speech import SAMPLE_RATE, probabilities, share_of_speech
from whisper_fleet.shared.settings import Settings

SECONDS = 4


def spoken() -> NDArray[np.float32]:
    clip = Path(whisper_fleet.__file__).parent / "samples" / "sense_and_sensibility-0870.wav"
    with wave.open(str(clip)) as file:
        pcm = file.readframes(SECONDS * SAMPLE_RATE)
    return (np.frombuffer(pcm, np.int16) / 32768).astype(np.float32)


def unspoken(kind: str) -> NDArray[np.float32]:
    times = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    made = {
        "silence": np.zeros(len(times)),
        "noise": np.random.default_rng(7).standard_normal(len(times)) * 0.02,
        "tone": np.sin(2 * np.pi * 440 * times) * 0.1,
        "music": sum(np.sin(2 * np.pi * tone * times) * 0.05 * (times % 0.5 < 0.4) for tone in (262, 330, 392)),
    }
    return np.asarray(made[kind], np.float32)


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "music"])
def test_speech_is_heard_and_nothing_else(kind: str) -> None:
    recording = np.concatenate([spoken(), unspoken(kind), spoken()])
    assert share_of_speech(recording, 0.0, 4.0) > 0.5
    assert share_of_speech(recording, 5.0, 8.0) < 0.05
    assert share_of_speech(recording, 8.0, 12.0) > 0.5


def test_a_moment_without_length_is_heard_with_what_follows_it() -> None:
    assert share_of_speech(spoken(), 2.0, 2.0) > 0
    assert share_of_speech(spoken(), 4.0, 4.0) == 0.0  # nothing follows


def test_samples_of_both_types_are_heard_alike() -> None:
    of_floats = probabilities(spoken())
    of_integers = probabilities((spoken() * 32768).astype(np.int16))
    assert np.array_equal(of_floats, of_integers)
    assert len(of_floats) == SECONDS * SAMPLE_RATE // 512


def test_the_voice_cutter_cuts_where_nobody_speaks_even_if_it_is_loud() -> None:
    recording = (np.concatenate([spoken(), unspoken("music"), spoken()]) * 32767).astype(np.int16)
    cut = cutter_of(Settings(), "voice")(recording) / SAMPLE_RATE
    assert 5.0 < cut < 7.0


def test_without_a_stretch_that_is_free_of_speech_the_voice_cutter_takes_the_longest_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from whisper_fleet.scheduler.intake.cutters import pause, voice

    monkeypatch.setattr(voice, "probabilities", lambda samples: np.ones(len(samples) // 512))
    recording = (spoken() * 32767).astype(np.int16)
    assert voice.longest_without_voice(recording) == pause.longest_pause(recording)
