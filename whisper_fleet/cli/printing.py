"""How transcripts and reports look on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from whisper_fleet.outcome import JobResult, Outcome

_MARKS = {"good": "[green]✓[/green]", "note": "[yellow]•[/yellow]", "bad": "[red]✗[/red]"}


@dataclass(frozen=True)
class Finding:
    """One line of a report; only a bad one keeps a fleet from working."""

    kind: str  # good, note or bad
    text: str


def print_findings(findings: Iterable[Finding]) -> None:
    """Print a line per finding."""
    console = Console()
    for finding in findings:
        console.print(f"{_MARKS[finding.kind]} {escape(finding.text)}", highlight=False, soft_wrap=True)


def print_warnings(result: JobResult) -> None:
    """Print what a client has to know about a job that succeeded, on stderr."""
    console = Console(stderr=True)
    for one in result.warnings:
        place = "" if one.at is None else f" at {one.at:.1f} s"
        console.print(f"[yellow]warning[/yellow]{place}: {escape(one.message)}", highlight=False, soft_wrap=True)


def print_transcript(name: str, outcome: Outcome, console: Console) -> None:
    """Print a job's name, its text and its output files, or why there are none."""
    console.print(f"\n[bold]{escape(name)}[/bold]", soft_wrap=True)
    if not outcome.succeeded:
        console.print(f"[red]{escape(outcome.error or 'failed')}[/red]", soft_wrap=True)
        return
    result = outcome.result
    console.print(result.text.strip() or "(silence)", markup=False, highlight=False, soft_wrap=True)
    print_warnings(result)
    for file in result.output_files:
        console.print(f"  {escape(file)}", style="dim", highlight=False, soft_wrap=True)
    for error in result.output_errors:
        console.print(f"[yellow]{escape(error)}[/yellow]", highlight=False, soft_wrap=True)
