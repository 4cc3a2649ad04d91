"""The measured figures that capacity planning uses. Each is declared here once, with the page that it was measured for.

A test looks each value up in its page, so a figure that is measured again is changed in both. Nothing here is
calculated; planner.py scales.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that was measured, or that a manufacturer states, and where it is written."""

    value: float
    unit: str
    source: str  # page below docs, with the anchor of the section; or the name of a document

    @property
    def written(self) -> str:
        """Return the number as the pages write it."""
        return f"{self.value:,.1f}" if self.value < 100 and self.value % 1 else f"{self.value:,.0f}"


_REALTIME = "times realtime"
_H100 = "benchmarks/engine.md#speed-on-an-h100-next-to-others"
_H200 = "benchmarks/engine.md#speed-on-an-h200"
_FOOTPRINT = "benchmarks/footprint.md#figures"

#: The card on which the speed of transcripts was measured; other cards are scaled from it.
REFERENCE_CARD = "h100"

#: Model -> times realtime of `transcribe()` with prompts, 256 slots, float16, on the reference card.
SPEEDS = {
    "base": Figure(value=8091, unit=_REALTIME, source="benchmarks/fleet.md#clients-in-several-processes"),
    "turbo": Figure(value=2890, unit=_REALTIME, source="benchmarks/engine.md#through-the-socket"),
    "large-v3": Figure(value=1728, unit=_REALTIME, source="benchmarks/fleet.md#a-deep-queue"),
}
#: A model that was not measured -> the measured one that is not faster.
NOT_FASTER = {
    "tiny": "base",
    "tiny.en": "base",
    "base.en": "base",
    "small": "turbo",
    "small.en": "turbo",
    "medium": "large-v3",
    "medium.en": "large-v3",
    "large-v1": "large-v3",
    "large-v2": "large-v3",
    "large": "large-v3",
    "large-v3-turbo": "turbo",
}
#: Model -> rows of the batch -> times realtime of the engine alone.
BY_ROWS = {
    "base": {
        1: Figure(value=593, unit=_REALTIME, source=_H200),
        64: Figure(value=17936, unit=_REALTIME, source=_H100),
        256: Figure(value=26878, unit=_REALTIME, source=_H100),
    },
    "turbo": {
        1: Figure(value=578, unit=_REALTIME, source=_H200),
        64: Figure(value=4610, unit=_REALTIME, source=_H100),
        256: Figure(value=4766, unit=_REALTIME, source=_H100),
    },
    "large-v3": {
        1: Figure(value=95, unit=_REALTIME, source=_H100),
        64: Figure(value=1901, unit=_REALTIME, source=_H100),
        256: Figure(value=2572, unit=_REALTIME, source=_H100),
    },
}
#: Model -> times realtime of the engine with 256 rows, absorbed and with cached keys.
BY_FORM = {
    "base": (
        Figure(value=30080, unit=_REALTIME, source=_H200),
        Figure(value=25400, unit=_REALTIME, source=_H200),
    ),
    "turbo": (
        Figure(value=5018, unit=_REALTIME, source=_H200),
        Figure(value=4830, unit=_REALTIME, source=_H200),
    ),
    "large-v3": (
        Figure(value=2817, unit=_REALTIME, source=_H200),
        Figure(value=2240, unit=_REALTIME, source=_H200),
    ),
}
#: Model -> cores that the processes of a GPU node use at full load, and those of its engine.
NODE_CORES = {
    "base": Figure(value=2.7, unit="cores", source="benchmarks/fleet.md#clients-in-several-processes"),
    "turbo": Figure(value=1.7, unit="cores", source="benchmarks/engine.md#through-the-socket"),
    "large-v3": Figure(value=1.2, unit="cores", source="benchmarks/fleet.md#a-deep-queue"),
}
ENGINE_CORES = Figure(value=1.1, unit="cores", source="benchmarks/fleet.md#clients-in-several-processes")

_DECODING = "processor seconds per hour of audio"
#: Format of the files -> processor time of ffmpeg and intake together.
DECODING = {
    "wav": Figure(value=1.8, unit=_DECODING, source=_FOOTPRINT),
    "flac": Figure(value=5.5, unit=_DECODING, source=_FOOTPRINT),
    "mp3": Figure(value=6.8, unit=_DECODING, source=_FOOTPRINT),
    "m4a": Figure(value=7.1, unit=_DECODING, source=_FOOTPRINT),
    "opus": Figure(value=11.6, unit=_DECODING, source=_FOOTPRINT),
}
REDIS_PER_JOB = Figure(value=5312, unit="bytes per job that is kept", source=_FOOTPRINT)
REDIS_PER_HOUR = Figure(value=632472, unit="bytes per hour of audio that is kept", source=_FOOTPRINT)

#: Card -> TFLOP/s of dense float16 products with float32 sums, and GB/s of memory.
DATASHEETS = {
    "t4": (65, 320),
    "l4": (121, 300),
    "a10": (125, 600),
    "l40s": (362, 864),
    "a100-40gb": (312, 1555),
    "a100": (312, 2039),
    "h100": (989, 3350),
    "h200": (989, 4800),
    "b200": (2250, 8000),
    "4090": (165, 1008),
    "5090": (209, 1792),
}
