"""How transcripts and reports look on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from whisper_fleet.cli.terminal.json_lines import print_line
from whisper_fleet.outcome import JobResult, Outcome
from whisper_fleet.shared.display.text import printable, printable_text

_MARKS = {"good": ("✓", "green"), "note": ("•", "yellow"), "bad": ("✗", "red")}


@dataclass(frozen=True)
class Finding:
    """One line of a report; only a bad one keeps a fleet from working."""

    kind: str  # good, note or bad
    text: str


def results_console() -> Console:
    """Return the console of results: standard output, without colours unless it is a terminal."""
    return Console(emoji=False, highlight=False)


def progress_console() -> Console:
    """Return the console of progress and errors: standard error."""
    return Console(stderr=True, emoji=False, highlight=False)


def print_findings(findings: Iterable[Finding], *, as_json: bool = False) -> None:
    """Print a line per finding, or a JSON object."""
    console = results_console()
    for finding in findings:
        if as_json:
            print_line({"kind": finding.kind, "text": finding.text})
            continue
        console.print(Text.assemble(_MARKS[finding.kind], " ", printable(finding.text)), soft_wrap=True)


def print_warnings(result: JobResult, errors: Console) -> None:
    """Print what a client has to know about a job that succeeded."""
    for one in result.warnings:
        place = "" if one.at is None else f" at {one.at:.1f} s"
        errors.print(Text.assemble(("warning", "yellow"), f"{place}: {printable(one.message)}"), soft_wrap=True)


def print_transcript(name: str, outcome: Outcome, results: Console, errors: Console) -> None:
    """Print a job's name, its text and its output files as results, or as an error why there is no transcript."""
    console = results if outcome.succeeded else errors
    console.print(Text.assemble("\n", (printable(name), "bold")), soft_wrap=True)
    if not outcome.succeeded:
        errors.print(Text(printable(outcome.error or "failed"), "red"), soft_wrap=True)
        return
    result = outcome.result
    results.print(Text(printable_text(result.text.strip()) or "(silence)"), soft_wrap=True)
    print_warnings(result, errors)
    for file in result.output_files:
        results.print(Text(f"  {printable(file)}", "dim"), soft_wrap=True)
    for error in result.output_errors:
        errors.print(Text(printable(error), "yellow"), soft_wrap=True)
