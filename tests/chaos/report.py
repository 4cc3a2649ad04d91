"""The verdicts as a line on the terminal and as a table of a page."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping

from tests.chaos.judge import Verdict
from tests.chaos.run import Size

_HEAD = "| fault | lost | doubled | altered | wrong failures | resumed after | all answers after | left over |"


def line(name: str, verdict: Verdict) -> str:
    """Return one row for the terminal, with the ids of what went wrong below it."""
    counts = " ".join(
        f"{title} {len(found)}"
        for title, found in (
            ("lost", verdict.lost),
            ("doubled", verdict.doubled),
            ("altered", verdict.altered),
            ("failed", verdict.failed),
            ("left", verdict.leftovers),
        )
    )
    result = "ok  " if verdict.is_clean else "FAIL"
    first = f"{result} {name:42} {counts}  resumed {_seconds(verdict.resumed)}, all after {_seconds(verdict.seconds)}"
    wrong = {
        "lost": verdict.lost, "doubled": verdict.doubled, "altered": verdict.altered, "failed": verdict.failed,
        "left": verdict.leftovers, "errors": verdict.notes,
    }  # fmt: skip
    return "\n".join([first, *(f"     {title}: {', '.join(found[:5])}" for title, found in wrong.items() if found)])


def skipped_line(name: str, reason: str) -> str:
    return f"skip {name}: {reason}"


def table(verdicts: Mapping[str, Verdict | str], size: Size) -> str:
    """Return the table in Markdown, with the machine, the date and the command."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return "\n".join(
        [
            f"Machine: {machine}. Date: {today}. Command: `make chaos`. Load of each row: {size.jobs} jobs with"
            f" {size.jobs * size.segments} segments.",
            "",
            _HEAD,
            "|---|---|---|---|---|---|---|---|",
            *(_cells(name, verdict) for name, verdict in verdicts.items()),
            "",
        ]
    )


def _cells(name: str, verdict: Verdict | str) -> str:
    if isinstance(verdict, str):
        return f"| {name} |  |  |  |  |  |  | not run: {verdict} |"
    counts = [len(found) for found in (verdict.lost, verdict.doubled, verdict.altered, verdict.failed)]
    forgotten = f" (and {verdict.forgotten} forgotten)" if verdict.forgotten else ""
    left = "; ".join(verdict.leftovers) or "nothing"
    times = [_seconds(verdict.resumed), _seconds(verdict.seconds)]
    return f"| {name} | {' | '.join(map(str, counts))}{forgotten} | {' | '.join(times)} | {left} |"


def _seconds(seconds: float | None) -> str:
    return "not seen" if seconds is None else f"{seconds:.1f} s"
