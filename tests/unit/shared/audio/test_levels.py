"""Peak and energy of audio that passes in chunks of any length."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_fleet.shared.audio import levels as module
from whisper_fleet.shared.audio.levels import NOTHING, Levels, peak_of


def chunks(pcm: bytes, lengths: list[int]) -> Generator[bytes]:
    position = 0
    for length in [*lengths, len(pcm)]:
        yield pcm[position : position + length]
        position += length


@given(samples=st.lists(st.integers(-32768, 32767), max_size=50), lengths=st.lists(st.integers(0, 9), max_size=20))
def test_chunks_of_any_length_are_measured_as_a_whole(samples: list[int], lengths: list[int]) -> None:
    pcm, levels = np.array(samples, np.int16).tobytes(), Levels()
    assert b"".join(levels.passing(chunks(pcm, lengths))) == pcm
    assert levels.peak == max(map(abs, samples), default=0)
    energy = sum(float(sample) ** 2 for sample in samples)
    expected = 10 * math.log10(energy / len(samples) / 32768**2) if energy else NOTHING
    assert levels.dbfs == pytest.approx(expected, abs=0.001)


def test_energy_is_that_of_the_beginning_and_the_peak_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEASURED_SECONDS", 1)
    levels = Levels()
    for sample in (100, 20_000):
        levels.add(np.full(16_000, sample, np.int16).tobytes())
    assert levels.dbfs == pytest.approx(20 * math.log10(100 / 32768), abs=0.001)
    assert levels.peak == 20_000


def test_a_peak_is_looked_for_only_until_it_is_found() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield np.array([0, -500], np.int16).tobytes()

    assert peak_of(endless(), 328) == 500
    assert peak_of([b"\0\0"], 328) == 0
