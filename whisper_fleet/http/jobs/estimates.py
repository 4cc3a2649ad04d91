"""How long a job would take before it is submitted: what is in front of it, over how fast the fleet has been. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel


class Estimate(BaseModel):
    """An estimate; None where the fleet has not transcribed anything yet, or has no GPU up."""

    backlog_seconds: float  # of audio in front of the job
    speed: float | None  # seconds of audio per second, of the GPUs that are up together
    wait_seconds: float | None  # until the job's audio is begun
    total_seconds: float | None  # until it is done
    gpus: int  # that are up


def estimate(
    *, audio_seconds: float, priority: int, waiting: Iterable[tuple[int, float]], running: float, speeds: list[float]
) -> Estimate:
    """Return the estimate for so many seconds of audio.

    `waiting` are priorities and seconds of audio, `running` is what GPUs have and have not transcribed. What is less
    urgent than the job waits behind it.
    """
    ahead = running + sum(seconds for other, seconds in waiting if other <= priority)
    speed = sum(speeds)
    if speed <= 0:
        wait, total = None, None
    else:
        wait, total = round(ahead / speed, 1), round((ahead + audio_seconds) / speed, 1)
    return Estimate(
        backlog_seconds=round(ahead, 1),
        speed=round(speed, 1) if speed > 0 else None,
        wait_seconds=wait,
        total_seconds=total,
        gpus=len(speeds),
    )
