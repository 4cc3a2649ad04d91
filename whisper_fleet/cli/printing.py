"""What people read on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from whisper_fleet.cli.client import Outcome


def print_transcript(name: str, outcome: Outcome, console: Console) -> None:
    """A job's name, its text and its files; or why there are none."""
    console.print(f"\n[bold]{escape(name)}[/bold]", soft_wrap=True)
    if outcome.transcript is None:
        console.print(f"[red]{escape(outcome.error or 'failed')}[/red]", soft_wrap=True)
        return
    console.print(outcome.transcript["text"].strip() or "(silence)", markup=False, highlight=False, soft_wrap=True)
    for file in outcome.transcript["output_files"]:
        console.print(f"  {escape(file)}", style="dim", highlight=False, soft_wrap=True)
