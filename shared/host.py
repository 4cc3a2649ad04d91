"""Reads the host itself: memory and cores that this process may really use, also inside a container."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class HostReading:
    """The host at one moment."""

    total_bytes: int
    free_bytes: int  # what can be allocated without swapping
    cores: int  # physical ones, as far as we may run on them
    name: str = "cpu"


def read_host(cgroup: Path = _CGROUP) -> HostReading:
    """Memory and cores, the container's where it has less than the machine."""
    memory = psutil.virtual_memory()
    limit = _number(cgroup / "memory.max")
    used = _number(cgroup / "memory.current")
    total, free = int(memory.total), int(memory.available)
    if limit is not None and used is not None and limit < total:
        reclaimable = _reclaimable(cgroup / "memory.stat")
        total, free = limit, max(0, min(free, limit - used + reclaimable))
    return HostReading(total_bytes=total, free_bytes=free, cores=_cores(cgroup / "cpu.max"))


def _cores(cpu_max: Path) -> int:
    """Two threads of a core share its arithmetic, so hyper-threads do not count."""
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) * physical // logical
    quota = _quota(cpu_max)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def _quota(cpu_max: Path) -> float | None:
    """Cores that cgroup v2 grants, from `<quota> <period>`; None for `max`."""
    words = _words(cpu_max)
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    return int(words[0]) / int(words[1])


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if len(words) == 1 and words[0].isdecimal() else None


def _reclaimable(path: Path) -> int:
    """Page cache that the kernel gives back when memory is needed."""
    words = _words(path)
    return next((int(size) for name, size in pairwise(words) if name == "inactive_file"), 0)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
