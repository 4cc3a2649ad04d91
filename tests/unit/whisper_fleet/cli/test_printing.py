"""What the command line prints of a result, and where."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from whisper_fleet.cli.terminal.printing import print_transcript, progress_console
from whisper_fleet.outcome import Outcome


def test_warnings_go_to_stderr_and_the_transcript_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    warnings = [{"kind": "gap", "message": "a [hole]", "at": 3.0}, {"kind": "damaged", "message": "damage"}]
    data = {"text": " Hello.", "segments": [], "language": "en", "warnings": warnings}
    out = io.StringIO()
    print_transcript("a.mp3", Outcome(data=data), Console(file=out, width=80), progress_console())
    assert capsys.readouterr().err.splitlines() == ["warning at 3.0 s: a [hole]", "warning: damage"]
    assert out.getvalue() == "\na.mp3\nHello.\n"
