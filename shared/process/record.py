"""The file in which a process of this machine notes its pid and what its last reload did.

Writers: processes of the fleet, one file per program in `run` of the state directory. Reader: `whisper-fleet reload`.
A process that was killed leaves its file behind, so a reader compares when the process with that pid was started.
Where the directory cannot be written there is no file, and SIGHUP still works.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from whisper_fleet.shared.settings.reload import Reloaded

#: Begins the names of the files.
PREFIX = "process-"


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """A process of this machine, and its last reload."""

    program: str
    pid: int
    started: float  # Unix seconds, as the kernel says
    reloads: int = 0  # since its start
    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    error: str | None = None  # why the last reload changed nothing

    @classmethod
    def of_this_process(cls, program: str) -> Self:
        """Return the record of this process, which has not reloaded anything yet."""
        return cls(program=program, pid=os.getpid(), started=psutil.Process().create_time())

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; another one with its pid does not count."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1.0
        except psutil.Error:
            return False

    def write(self, run: Path) -> None:
        """Replace the program's file in this directory, if it can be written."""
        file = run / f"{PREFIX}{self.program}.json"
        draft = file.with_suffix(".new")
        with contextlib.suppress(OSError):
            run.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(json.dumps(asdict(self)))
            draft.replace(file)

    def after(self, reloaded: Reloaded, error: str | None = None) -> ProcessRecord:
        """Return the record after one more reload."""
        return ProcessRecord(
            program=self.program,
            pid=self.pid,
            started=self.started,
            reloads=self.reloads + 1,
            changed=reloaded.changed,
            needs_restart=reloaded.needs_restart,
            error=error,
        )


def request_reload(run: Path) -> list[ProcessRecord]:
    """Send SIGHUP to the processes that run, and return their records from before; PermissionError as it is."""
    records = list(read_records(run))
    for record in records:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGHUP)
    return records


def read_records(run: Path) -> Iterator[ProcessRecord]:
    """Yield the records of the processes that run, by name."""
    for file in sorted(run.glob(f"{PREFIX}*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):  # removed meanwhile, or written by another version
            values = json.loads(file.read_text())
            lists = {name: tuple(values[name]) for name in ("changed", "needs_restart")}
            record = ProcessRecord(**{**values, **lists})
            if record.is_alive:
                yield record
