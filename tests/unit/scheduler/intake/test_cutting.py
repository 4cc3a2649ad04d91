"""Long recordings are cut in pauses, completely and without overlap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisper_fleet.scheduler.intake.cutters import Cutter, cutter_of
from whisper_fleet.scheduler.intake.cutters.pause import longest_pause
from whisper_fleet.scheduler.intake.cutting import SEARCH_SECONDS, SHORTEST_TAIL_SECONDS, cut_into_segments
from whisper_fleet.shared.audio.decode import SAMPLE_RATE
from whisper_fleet.shared.errors import BadSetting
from whisper_fleet.shared.settings import Settings


def noise(seconds: float, level: float = 3000.0, seed: int = 0) -> NDArray[np.int16]:
    """Something as loud as speech."""
    loud = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE)) * level
    return loud.clip(-32768, 32767).astype(np.int16)


def with_pauses(seconds: float, *pauses: tuple[float, float], level: float = 10.0) -> NDArray[np.int16]:
    """Loud, but for quiet from second to second of each pause."""
    samples = noise(seconds)
    for start, end in pauses:
        quiet = slice(int(start * SAMPLE_RATE), int(end * SAMPLE_RATE))
        samples[quiet] = noise(seconds, level)[quiet]
    return samples


def stream_of(recording: bytes, piece: int) -> Iterator[bytes]:
    return (recording[start : start + piece] for start in range(0, len(recording), piece))


def cut_points(samples: NDArray[np.int16], segment_duration: float) -> list[int]:
    """The sample indices at which a whole recording is cut."""
    cuts = cut_into_segments([samples.tobytes()], segment_duration, longest_pause)
    return [int(end) for end in np.cumsum([len(cut.pcm) // 2 for cut in cuts])[:-1]]


def test_a_recording_that_fits_is_not_cut() -> None:
    assert cut_points(noise(60.0), 60.0) == []


def test_the_cut_is_in_the_middle_of_the_pause() -> None:
    (cut,) = cut_points(with_pauses(55.0, (35.0, 36.0)), 40.0)
    assert abs(cut / SAMPLE_RATE - 35.5) < 0.02


def test_of_two_pauses_the_longer_one_is_taken_though_the_shorter_one_is_quieter() -> None:
    samples = with_pauses(55.0, (25.0, 27.0))
    samples[int(33.0 * SAMPLE_RATE) : int(33.3 * SAMPLE_RATE)] = 0
    (cut,) = cut_points(samples, 40.0)
    assert abs(cut / SAMPLE_RATE - 26.0) < 0.02


def test_of_equal_pauses_the_last_one_is_taken() -> None:
    (cut,) = cut_points(with_pauses(55.0, (25.0, 26.0), (30.0, 31.0)), 40.0)
    assert abs(cut / SAMPLE_RATE - 30.5) < 0.05


def test_a_pause_before_the_last_twenty_seconds_is_not_looked_for() -> None:
    (cut,) = cut_points(with_pauses(100.0, (30.0, 35.0), (45.0, 45.3)), 60.0)
    assert abs(cut / SAMPLE_RATE - 45.15) < 0.02


def test_without_any_pause_the_quietest_tenth_of_a_second_is_cut() -> None:
    samples = noise(20.0)
    quiet = slice(int(12.0 * SAMPLE_RATE), int(12.1 * SAMPLE_RATE))
    samples[quiet] = samples[quiet] // 2
    assert abs(longest_pause(samples) / SAMPLE_RATE - 12.05) < 0.02


def test_digital_silence_is_cut_like_any_pause() -> None:
    samples = np.zeros(95 * SAMPLE_RATE, np.int16)
    cuts = [0, *cut_points(samples, 30.0), len(samples)]
    lengths = np.diff(cuts) / SAMPLE_RATE
    assert all(lengths <= 30.0)
    assert all(lengths >= SHORTEST_TAIL_SECONDS)


@settings(deadline=None, max_examples=60)
@given(
    seconds=st.floats(0.1, 200.0),
    limit=st.floats(30.0, 90.0),
    seed=st.integers(0, 5),
    piece=st.integers(1, 500_000),
)
def test_nothing_is_lost_or_doubled_or_too_long_or_too_short(
    seconds: float, limit: float, seed: int, piece: int
) -> None:
    recording = noise(seconds, seed=seed).tobytes()
    cuts = list(cut_into_segments(stream_of(recording, piece), limit, longest_pause))
    segments = [cut.pcm for cut in cuts]
    assert b"".join(segments) == recording
    assert [cut.is_last for cut in cuts] == [False] * (len(cuts) - 1) + [True]
    lengths = [len(segment) / 2 / SAMPLE_RATE for segment in segments]
    assert max(lengths) <= limit
    assert all(length >= limit - SEARCH_SECONDS - 0.001 for length in lengths[:-2])
    assert len(lengths) == 1 or min(lengths) >= SHORTEST_TAIL_SECONDS - 0.001


def cuts_of_whole(samples: NDArray[np.int16], limit_seconds: float, cutter: Cutter) -> list[bytes]:
    """The segments of a recording that is known to its end before the first cut is decided."""
    limit, tail, search = (int(each * SAMPLE_RATE) for each in (limit_seconds, SHORTEST_TAIL_SECONDS, SEARCH_SECONDS))
    segments, rest = [], samples
    while len(rest) > limit:
        first, last = max(limit - search, tail), min(limit, len(rest) - tail)
        cut = last if last <= first else first + cutter(rest[first:last])
        segments.append(rest[:cut].tobytes())
        rest = rest[cut:]
    return [*segments, rest.tobytes()]


@settings(deadline=None, max_examples=60)
@given(
    seconds=st.floats(0.1, 200.0),
    limit=st.floats(30.0, 90.0),
    piece=st.integers(1, 500_000),
    pauses=st.lists(st.tuples(st.floats(0.0, 200.0), st.floats(0.01, 3.0)), max_size=8),
)
def test_segments_are_cut_from_a_stream_as_from_the_whole_recording(
    seconds: float, limit: float, piece: int, pauses: list[tuple[float, float]]
) -> None:
    recording = with_pauses(seconds, *((start, start + length) for start, length in pauses))
    cuts = cut_into_segments(stream_of(recording.tobytes(), piece), limit, longest_pause)
    assert [cut.pcm for cut in cuts] == cuts_of_whole(recording, limit, longest_pause)


@settings(deadline=None, max_examples=30)
@given(seconds=st.floats(70.0, 200.0), piece=st.integers(1, 500_000), seed=st.integers(0, 5))
def test_a_decoding_that_goes_on_from_a_cut_cuts_the_rest_alike(seconds: float, piece: int, seed: int) -> None:
    recording = noise(seconds, seed=seed).tobytes()
    segments = [cut.pcm for cut in cut_into_segments([recording], 30.0, longest_pause)]
    for number in range(1, len(segments)):
        rest = recording[sum(map(len, segments[:number])) :]
        assert [cut.pcm for cut in cut_into_segments(stream_of(rest, piece), 30.0, longest_pause)] == segments[number:]


def test_a_segment_comes_as_soon_as_its_end_is_decided() -> None:
    recording, piece, read = noise(200.0).tobytes(), SAMPLE_RATE, 0

    def stream() -> Iterator[bytes]:
        nonlocal read
        for chunk in stream_of(recording, piece):
            read += len(chunk)
            yield chunk

    end = 0
    for cut in cut_into_segments(stream(), 40.0, longest_pause):
        if not cut.is_last:
            assert read <= end + (40 + SHORTEST_TAIL_SECONDS) * SAMPLE_RATE * 2 + piece
        end += len(cut.pcm)


def test_another_cutter_is_passed_in_and_stays_within_what_may_be_cut() -> None:
    recording = noise(100.0).tobytes()
    for cutter, seconds in ((lambda samples: 0, 20.0), (lambda samples: len(samples) * 9, 40.0)):
        first = next(cut_into_segments([recording], 40.0, cutter))
        assert len(first.pcm) / 2 / SAMPLE_RATE == seconds


def test_an_unknown_cutter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadSetting, match="WHISPER_FLEET_CUTTER cannot be used: 'vad' is none of pause"):
        cutter_of(Settings(cutter="vad"))
    assert cutter_of(Settings()) is longest_pause
