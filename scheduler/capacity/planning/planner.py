"""Calculates what a load needs: GPUs, hosts, cores, disk and memory of Redis, with the source of every number. Pure.

`whisper-fleet plan` calls it with the slots of the card, which are counted from its memory. It knows no
device, and fails only on a model that is not in the catalogue. Where a model or a card was not measured, it takes the
lower figure: more is promised only by measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from whisper_fleet.scheduler.capacity.planning.figures import (
    BY_FORM,
    BY_ROWS,
    DATASHEETS,
    DECODING,
    ENGINE_CORES,
    NODE_CORES,
    NOT_FASTER,
    REDIS_PER_HOUR,
    REDIS_PER_JOB,
    REFERENCE_CARD,
    SPEEDS,
)
from whisper_fleet.shared.errors import UnknownModel
from whisper_fleet.shared.models import Form
from whisper_fleet.shared.units import readable_bytes

_FULL_BATCH = 256
#: 16-bit samples at 16 kHz.
_SPOOL_BYTES_PER_HOUR = 3600 * 16_000 * 2
#: Redis copies what changes while it rewrites its append-only file; at worst everything.
_REDIS_RESERVE = 2


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A load, and the machines that it is planned for."""

    hours_per_day: float  # of audio
    model: str
    card: str  # one of the catalogue's
    media: str = "mp3"  # format of the files
    within_hours: float = 24.0  # of each day in which the audio arrives and is to be done
    utilisation: float = 0.7  # share of a GPU's speed that is planned for
    file_minutes: float = 30.0  # average length of a file
    retention_days: float = 7.0
    gpus_per_host: int = 1
    cores_per_host: int = 16
    spool_limit_bytes: int = 50 * 2**30


@dataclass(frozen=True, kw_only=True)
class Line:
    """One number of a plan, how it was calculated, and what it rests on."""

    name: str
    value: float
    unit: str
    text: str  # the value as people read it
    reason: str
    basis: str  # measured, scaled or calculated
    sources: tuple[str, ...] = ()


def plan(demand: Demand, *, slots: int, form: Form) -> list[Line]:
    """Return what a demand needs, with `slots` and the form of cross-attention of one GPU; no GPUs without slots."""
    speed = _speed(demand, slots, form)
    if speed.value <= 0:
        return [speed]
    planned = speed.value * demand.utilisation * demand.within_hours
    gpus = max(1, math.ceil(demand.hours_per_day / planned))
    why = f"{demand.hours_per_day:,.0f} h of audio in {demand.within_hours:g} h at {demand.utilisation:.0%} of speed"
    busy = demand.hours_per_day / speed.value / gpus
    busy_why = f"at full speed; {busy / demand.within_hours:.0%} of {demand.within_hours:g} h"
    return [
        speed,
        Line(name="GPUs", value=gpus, unit="GPUs", text=f"{gpus}", reason=why, basis="calculated"),
        Line(
            name="busy",
            value=busy,
            unit="hours per day",
            text=f"{busy:.1f} h per GPU and day",
            reason=busy_why,
            basis="calculated",
        ),
        *_hosts(demand, gpus),
        _spool(demand),
        _redis(demand),
    ]


def _measured(model: str) -> str:
    """Return the measured model whose figures stand for a model."""
    if model not in SPEEDS and model not in NOT_FASTER:
        raise UnknownModel(name=model, known=", ".join([*SPEEDS, *NOT_FASTER]))
    return NOT_FASTER.get(model, model)


def _speed(demand: Demand, slots: int, form: Form) -> Line:
    """Return the times realtime of one GPU: as measured, or scaled by model, card, rows and form."""
    model = _measured(demand.model)
    figure, value = SPEEDS[model], SPEEDS[model].value
    reasons, sources = [f"{model} on {REFERENCE_CARD}: {figure.written}"], [figure.source]
    if model != demand.model:
        reasons.append(f"{demand.model} was not measured and is not slower")
    if demand.card != REFERENCE_CARD:
        factor = _card_factor(demand.card)
        value *= factor
        reasons.append(f"times {factor:.2f} for {demand.card}, by its arithmetic and memory")
        sources.append("the manufacturer's data sheet")
    if slots < _FULL_BATCH:
        factor = _rows_factor(model, slots)
        value *= factor
        reasons.append(f"times {factor:.2f} for {slots} slots instead of {_FULL_BATCH}")
        sources += sorted({one.source for one in BY_ROWS[model].values()})
    if form == "cached":
        absorbed, cached = BY_FORM[model]
        value *= cached.value / absorbed.value
        reasons.append(f"times {cached.value / absorbed.value:.2f} for cached cross-attention")
        sources.append(cached.source)
    basis = "measured" if value == figure.value and model == demand.model else "scaled"
    text = f"{value:,.0f} times realtime per GPU, {slots} slots"
    return Line(
        name="speed",
        value=value,
        unit=figure.unit,
        text=text,
        reason="; ".join(reasons),
        basis=basis,
        sources=_distinct(sources),
    )


def _card_factor(card: str) -> float:
    """Return the speed of a card relative to the reference: the worse of its arithmetic and memory, at most 1."""
    (arithmetic, memory), (most_arithmetic, most_memory) = DATASHEETS[card], DATASHEETS[REFERENCE_CARD]
    return min(1.0, arithmetic / most_arithmetic, memory / most_memory)


def _rows_factor(model: str, slots: int) -> float:
    """Return the engine's speed with so many rows relative to a full batch, between measured points by logarithms."""
    if slots < 1:
        return 0.0
    points = sorted((rows, figure.value) for rows, figure in BY_ROWS[model].items())
    (low, slow), (high, fast) = next((before, after) for before, after in pairwise(points) if slots <= after[0])
    share = math.log(slots / low) / math.log(high / low)
    return float(slow * (fast / slow) ** share / points[-1][1])


def _hosts(demand: Demand, gpus: int) -> list[Line]:
    """Return cores and hosts: for decoding, and for the nodes and engines of GPUs that are all busy."""
    decoding = DECODING[demand.media]
    node = NODE_CORES[_measured(demand.model)]
    intake = demand.hours_per_day * decoding.value / 3600 / demand.within_hours / demand.utilisation
    per_gpu = node.value + ENGINE_CORES.value
    cores = intake + gpus * per_gpu
    by_cores, by_gpus = math.ceil(cores / demand.cores_per_host), math.ceil(gpus / demand.gpus_per_host)
    hosts = max(by_cores, by_gpus)
    why = (
        f"{intake:.1f} to decode {demand.media} ({decoding.written} s per hour of audio), and per GPU"
        f" {node.written} of its node and {ENGINE_CORES.written} of its engine"
    )
    sources = _distinct([decoding.source, node.source, ENGINE_CORES.source])
    hosts_why = (
        f"{demand.gpus_per_host} GPU and {demand.cores_per_host} cores each: {by_gpus} for GPUs, {by_cores} for cores"
    )
    return [
        Line(name="cores", value=cores, unit="cores", text=f"{cores:.1f}", reason=why, basis="scaled", sources=sources),
        Line(name="hosts", value=hosts, unit="hosts", text=f"{hosts}", reason=hosts_why, basis="calculated"),
    ]


def _spool(demand: Demand) -> Line:
    """Return the disk for decoded audio if all files of a day arrive at once."""
    size = min(int(demand.hours_per_day * _SPOOL_BYTES_PER_HOUR), demand.spool_limit_bytes)
    why = f"if the files of a day arrive at once, {_SPOOL_BYTES_PER_HOUR / 1e6:.0f} MB per hour of audio"
    limit = f"; at most SPOOL_LIMIT_BYTES, {readable_bytes(demand.spool_limit_bytes)}"
    return Line(
        name="spool", value=size, unit="bytes", text=readable_bytes(size), reason=why + limit, basis="calculated"
    )


def _redis(demand: Demand) -> Line:
    """Return the memory of Redis for the jobs of the retention time, with room for a rewrite."""
    hours = demand.hours_per_day * demand.retention_days
    jobs = hours * 60 / demand.file_minutes
    size = int(_REDIS_RESERVE * (jobs * REDIS_PER_JOB.value + hours * REDIS_PER_HOUR.value))
    why = (
        f"{jobs:,.0f} jobs of {demand.retention_days:g} days at {REDIS_PER_JOB.written} bytes, and"
        f" {REDIS_PER_HOUR.written} bytes per hour of audio; twice, for a rewrite of the append-only file"
    )
    sources = (REDIS_PER_JOB.source,)
    return Line(
        name="Redis", value=size, unit="bytes", text=readable_bytes(size), reason=why, basis="scaled", sources=sources
    )


def _distinct(sources: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sources))
