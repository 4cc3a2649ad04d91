"""Reads the memory and the cores of the host that this process may use, also inside a container."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class HostReading:
    """The memory and the cores of the host at one moment."""

    total_bytes: int
    free_bytes: int  # what can be allocated without swapping
    cores: int  # physical cores that this process may use
    name: str = "cpu"


def read_host(cgroup: Path = _CGROUP) -> HostReading:
    """Read memory and cores; inside a container, its limits if they are lower than the machine's."""
    memory = psutil.virtual_memory()
    limit = _number(cgroup / "memory.max")
    used = _number(cgroup / "memory.current")
    total, free = int(memory.total), int(memory.available)
    if limit is not None and used is not None and limit < total:
        reclaimable = _reclaimable(cgroup / "memory.stat")
        total, free = limit, max(0, min(free, limit - used + reclaimable))
    return HostReading(total_bytes=total, free_bytes=free, cores=_cores(cgroup / "cpu.max"))


def _cores(cpu_max: Path) -> int:
    """Return the usable physical cores; hyper-threads share the arithmetic units of a core and do not count."""
    logical = psutil.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) * physical // logical
    quota = _quota(cpu_max)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def _quota(cpu_max: Path) -> float | None:
    """Return the cores that cgroup v2 grants, from `<quota> <period>`; None for `max`."""
    words = _words(cpu_max)
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    return int(words[0]) / int(words[1])


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if len(words) == 1 and words[0].isdecimal() else None


def _reclaimable(path: Path) -> int:
    """Return the bytes of page cache that the kernel frees when memory is needed."""
    words = _words(path)
    return next((int(size) for name, size in pairwise(words) if name == "inactive_file"), 0)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
