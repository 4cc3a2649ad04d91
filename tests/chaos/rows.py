"""The language of faults: a row of the table is a name and what happens, as a function of the scene.

    @row("host cut off for 20 s", needs=("network",))
    def cut(scene: Scene) -> None: ...

A fault begins under load. It returns when its cause is over, or with a death as soon as the process is dead. A row may
be staged: then the context of `staging` surrounds its load, for example a host that runs with another clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal

from tests.chaos.scene.scene import Scene

Fault = Callable[[Scene], None]
Staging = Callable[[Scene], AbstractContextManager[None]]
#: Returns what is left over, given the ids of the load's jobs.
Check = Callable[[Scene, Sequence[str]], Sequence[str]]
#: What a machine may lack.
Need = Literal["network", "mount", "history", "compiler"]
#: What a row measures as its time to resume. `lost segments`: from a death on the left until all segments that ran
#: there run again or are done. `progress`: from the end of the fault to the next finished segment.
Resumption = Literal["lost segments", "progress"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    fault: Fault
    resumption: Resumption = "progress"
    staging: Staging | None = None
    check: Check | None = None  # more of what must not be left over
    needs: tuple[Need, ...] = ()
    is_slow: bool = False  # runs only if it is named, or with --slow
    #: The ledger may forget jobs in this row; their clients must get an error, and all others the right transcript.
    forgets: bool = False
    #: The share of the jobs that the fault itself submits, by `scene.submit_rest()`.
    late_share: float = 0.0


ROWS: dict[str, Row] = {}


def add(row: Row) -> None:
    """Add a row; its name must be new."""
    assert row.name not in ROWS, f"two rows are named {row.name}"
    ROWS[row.name] = row


def row(name: str, **options: Any) -> Callable[[Fault], Fault]:
    """Make a function the fault of a row; the options are the other fields of Row."""

    def decorate(fault: Fault) -> Fault:
        add(Row(name=name, fault=fault, **options))
        return fault

    return decorate


def select(patterns: Iterable[str], *, slow: bool = False) -> list[Row]:
    """Return the rows that match patterns such as `SIGKILL*`, in their order; without any, all that are not slow."""
    wanted = list(patterns)
    if not wanted:
        return [row for row in ROWS.values() if slow or not row.is_slow]
    unknown = [pattern for pattern in wanted if not any(fnmatch(name, pattern) for name in ROWS)]
    if unknown:
        raise SystemExit(f"no row matches {', '.join(unknown)}: python -m tests.chaos --list")
    names = dict.fromkeys(name for pattern in wanted for name in ROWS if fnmatch(name, pattern))
    return [ROWS[name] for name in names]
