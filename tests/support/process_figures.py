"""Memory, descriptors and threads of processes over time, by the name of the process that a test started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from tests.support.process_tree import descendants

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a process and its descendants hold at one moment."""

    processes: int
    memory_mib: float  # resident, shared pages counted once per process
    descriptors: int
    threads: int


@dataclass
class FigureLog:
    """Samples of the figures of several processes, oldest first."""

    samples: dict[str, list[Figures]] = field(default_factory=dict)

    def take(self, pids: Mapping[str, int]) -> None:
        """Add a sample of each process and its descendants."""
        for name, pid in pids.items():
            self.samples.setdefault(name, []).append(figures_of([pid, *(child.pid for child in descendants(pid))]))

    def growth(self, name: str, first: int) -> tuple[float, int]:
        """Return by how many MiB and how many descriptors a process grew from sample `first` to the last one."""
        before, after = self.samples[name][first], self.samples[name][-1]
        return after.memory_mib - before.memory_mib, after.descriptors - before.descriptors

    def lines(self, first: int) -> list[str]:
        """Return a table: each process at sample `first`, at its highest, and at the end."""
        rows = ["process     memory MiB: warm, most, end     descriptors: warm, most, end     threads: end"]
        for name, taken in self.samples.items():
            warm, last, most = taken[first], taken[-1], taken[first:]
            memory = f"{warm.memory_mib:7.0f} {max(one.memory_mib for one in most):7.0f} {last.memory_mib:7.0f}"
            files = f"{warm.descriptors:5} {max(one.descriptors for one in most):5} {last.descriptors:5}"
            rows.append(f"{name:10} {memory} {files:>31} {last.threads:17}")
        return rows


def figures_of(pids: Iterable[int]) -> Figures:
    """Return what these processes hold together; one that has ended holds nothing."""
    found = [figures for pid in pids if (figures := _of(pid))]
    return Figures(
        processes=len(found),
        memory_mib=sum(one.memory_mib for one in found),
        descriptors=sum(one.descriptors for one in found),
        threads=sum(one.threads for one in found),
    )


def _of(pid: int) -> Figures | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory = process.memory_info().rss / _MIB
            return Figures(processes=1, memory_mib=memory, descriptors=process.num_fds(), threads=process.num_threads())
    except psutil.Error:
        return None
