"""Measures how loud decoded audio is while it passes. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable

import numpy as np

from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE, PcmStream

#: Seconds of a file over which its energy is measured, so that other decodings of it can be compared.
MEASURED_SECONDS = 1800
#: Loudness of digital silence, in dBFS; the least that an int16 sample can differ from it is -90.
NOTHING = -100.0
_FULL_SCALE = 32768.0


class Levels:
    """The loudest sample of a stream, and the energy of its beginning."""

    def __init__(self) -> None:
        self.peak = 0  # the greatest absolute value of a sample
        self._energy = 0.0
        self._measured = 0  # samples
        self._half = b""  # of a sample whose other byte is in the next chunk

    @property
    def dbfs(self) -> float:
        """The mean energy of the first MEASURED_SECONDS, in dB below full scale."""
        if self._energy == 0.0:
            return NOTHING
        return 10 * math.log10(self._energy / self._measured / _FULL_SCALE**2)

    def passing(self, pcm: PcmStream) -> PcmStream:
        """Yield the same chunks, and measure them."""
        with contextlib.closing(pcm):
            for chunk in pcm:
                self.add(chunk)
                yield chunk

    def add(self, chunk: bytes) -> None:
        """Measure s16le samples, of which a chunk may end in the middle."""
        if self._half or len(chunk) % BYTES_PER_SAMPLE:
            chunk = self._half + chunk
            whole = len(chunk) - len(chunk) % BYTES_PER_SAMPLE
            chunk, self._half = chunk[:whole], chunk[whole:]
        samples = np.frombuffer(chunk, np.int16)
        if not len(samples):
            return
        self.peak = max(self.peak, int(samples.max()), -int(samples.min()))
        measured = samples[: max(0, MEASURED_SECONDS * SAMPLE_RATE - self._measured)].astype(np.float32)
        self._energy += float(np.dot(measured, measured))
        self._measured += len(measured)


def peak_of(pcm: Iterable[bytes], enough: int) -> int:
    """Return the greatest absolute sample of a stream, or the first that is `enough`."""
    levels = Levels()
    for chunk in pcm:
        levels.add(chunk)
        if levels.peak >= enough:
            break
    return levels.peak
