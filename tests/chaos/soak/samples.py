"""What the processes of a scene hold at a moment: memory, descriptors, sockets; and the keys of Redis."""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil
import redis as redis_py

from tests.chaos.scene.scene import Scene
from tests.support.fleet_command import ALL_PROGRAMS

#: What differs between the names of keys of one kind: ids in hexadecimal, the ids of loads, numbers.
_ID = re.compile(r"[0-9a-f]{8,}(-[0-9a-f]{3,})*|\d+")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The sums over the processes of one program on one host; of Redis, its clients and keys too."""

    minute: float
    host: str
    program: str
    processes: int
    memory: int  # resident bytes; memory that processes share is counted in each
    descriptors: int
    sockets: int
    keys: int = 0


def take(scene: Scene, minute: float) -> list[Sample]:
    """Return a sample per program and host. A process that ends meanwhile is left out."""
    samples = [
        sample
        for host in scene.hosts
        for program, processes in _by_program(host.tree()).items()
        if (sample := _sample(processes, minute=minute, host=host.name, program=program)) is not None
    ]
    with contextlib.suppress(redis_py.RedisError, psutil.Error):
        keys = scene.redis.dbsize()
        redis = _sample([scene.store.process], minute=minute, host="redis", program="redis", keys=keys)
        samples += [redis] if redis is not None else []
    return samples


def _by_program(tree: Iterable[psutil.Process]) -> dict[str, list[psutil.Process]]:
    programs: dict[str, list[psutil.Process]] = {}
    for process in tree:
        with contextlib.suppress(psutil.Error):
            programs.setdefault(_program(process), []).append(process)
    return programs


def _program(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return next((name for name, pattern in ALL_PROGRAMS.items() if re.search(pattern, command)), "other")


def _sample(
    processes: Sequence[psutil.Process], *, minute: float, host: str, program: str, keys: int = 0
) -> Sample | None:
    memory, descriptors, sockets, counted = 0, 0, 0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            links = [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
            memory += process.memory_info().rss
            descriptors += len(links)
            sockets += sum(link.startswith("socket:") for link in links)
            counted += 1
    if not counted:
        return None
    return Sample(
        minute=round(minute, 3),
        host=host,
        program=program,
        processes=counted,
        memory=memory,
        descriptors=descriptors,
        sockets=sockets,
        keys=keys,
    )


def write(samples: Sequence[Sample], path: Path) -> None:
    """Write the samples as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)


def key_families(scene: Scene) -> Counter[str]:
    """Return how many keys there are by their names, in which ids and numbers are left out."""
    names = (str(key) for key in scene.redis.scan_iter(count=1000))
    return Counter(_ID.sub("*", name) for name in names)
