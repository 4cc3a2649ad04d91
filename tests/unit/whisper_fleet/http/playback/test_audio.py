"""As what type the audio of a job is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.http.playback.audio import media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.wav", "audio/wav"),
        ("a.MP3", "audio/mpeg"),
        ("a.m4a", "audio/mp4"),
        ("a.flac", "audio/flac"),
        ("a.opus", "audio/ogg"),
        ("a.mp4", "video/mp4"),
        ("a.html", "application/octet-stream"),
        ("a.svg", "application/octet-stream"),
        ("a.js", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_only_audio_and_video_have_a_type_of_their_own(name: str, expected: str) -> None:
    assert media_type(Path(name)) == expected
