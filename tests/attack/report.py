"""The report of an attack in the form of docs/benchmarks/attack.md: what was answered, and what the processes hold.

Called by the run, which writes it to the file that ATTACK_TABLE names. It knows only the figures.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tests.attack.judge import Verdict
from tests.support.process_figures import FigureLog

_ATTACKS = "| attack | cases | done | refused | revoked | unanswered | untyped | seconds |"
_PROCESSES = "| process | MiB when warm | most | at the end | descriptors when warm | most | at the end | threads |"


def report(verdicts: Sequence[Verdict], figures: FigureLog, warm: int, cores: int) -> str:
    """Return the report; `warm` is the number of the sample from which on no process should grow."""
    where = f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}."
    errors = sum((verdict.failed for verdict in verdicts), Counter[str]())
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in errors.most_common())
    rows = [_row(verdict) for verdict in [*merged(verdicts), total(verdicts)]]
    processes = [_process(name, figures, warm) for name in figures.samples]
    tables = (_table(_ATTACKS, rows), f"Errors by type: {kinds or 'none'}.", _table(_PROCESSES, processes))
    return "\n\n".join((where, *tables)) + "\n"


def merged(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts with those of one attack that differ only in the seed added up."""
    by_name: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_name.setdefault(verdict.name.partition(", seed ")[0], []).append(verdict)
    return [total(same, name) for name, same in by_name.items()]


def total(verdicts: Sequence[Verdict], name: str = "all") -> Verdict:
    """Return the sum of some verdicts."""
    added = Verdict(name)
    for verdict in verdicts:
        added.cases += verdict.cases
        added.succeeded += verdict.succeeded
        added.failed += verdict.failed
        added.revoked += verdict.revoked
        added.unanswered += verdict.unanswered
        added.untyped |= verdict.untyped
        added.seconds += verdict.seconds
    return added


def _row(verdict: Verdict) -> str:
    refused, unanswered = sum(verdict.failed.values()), len(verdict.unanswered)
    counts = (verdict.cases, verdict.succeeded, refused, verdict.revoked, unanswered, len(verdict.untyped))
    return " | ".join((f"| {verdict.name}", *(f"{count:,}" for count in counts), f"{verdict.seconds:.0f} |"))


def _process(name: str, figures: FigureLog, warm: int) -> str:
    taken = figures.samples[name][warm:]
    memory, files = [one.memory_mib for one in taken], [one.descriptors for one in taken]
    numbers = [round(memory[0]), round(max(memory)), round(memory[-1]), files[0], max(files), files[-1]]
    return " | ".join((f"| {name}", *map(str, numbers), f"{taken[-1].threads} |"))


def _table(header: str, rows: Iterable[str]) -> str:
    rule = "|" + "---|" * (header.count("|") - 1)
    return "\n".join((header, rule, *rows))
