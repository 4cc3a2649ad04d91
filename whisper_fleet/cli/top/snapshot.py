"""The fleet at one moment, as `top` shows it. Sizes are bytes, lengths of audio are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GpuLine:
    """A GPU of the fleet."""

    id: str
    host: str
    is_up: bool
    slots: int
    busy: int
    rows: int | None  # of the batch; None: its node does not report them
    used_bytes: int | None
    total_bytes: int | None
    speed: float | None  # times realtime, over the last ten seconds


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """A job that has segments on a GPU."""

    job: str
    file: str  # the name, in visible characters
    tenant: str
    accepted: float  # Unix seconds
    seconds_done: float
    seconds_total: float | None  # None while its file is still being decoded
    eta: float | None  # seconds from now
    text: str  # the end of the text so far, on one line

    @property
    def share(self) -> float:
        """Return the part of its audio that is transcribed, 0 to 1; 0 while the length is unknown."""
        return min(1.0, self.seconds_done / self.seconds_total) if self.seconds_total else 0.0


@dataclass(frozen=True, kw_only=True)
class FailureLine:
    """A job that failed recently."""

    job: str
    file: str
    ended: float  # Unix seconds
    error: str


@dataclass(frozen=True, kw_only=True)
class TopSnapshot:
    """What one refresh shows."""

    at: float  # Unix seconds
    gpus: tuple[GpuLine, ...] = ()
    jobs: tuple[JobLine, ...] = ()
    failures: tuple[FailureLine, ...] = ()  # newest first
    jobs_waiting: int = 0
    segments_waiting: int = 0
    seconds_waiting: float = 0.0  # of audio, in segments that wait for a GPU
    messages: int = 0  # requests that wait for intake
    jobs_failed: int = 0  # since the fleet's beginning
    problem: str | None = None  # why no request is accepted, or why Redis cannot be read

    @property
    def hosts(self) -> int:
        return len({gpu.host for gpu in self.gpus})

    @property
    def speed(self) -> float:
        """Return how many seconds of audio all GPUs transcribe per second."""
        return sum(gpu.speed or 0.0 for gpu in self.gpus if gpu.is_up)
