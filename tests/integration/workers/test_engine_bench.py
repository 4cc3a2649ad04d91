"""`python -m benchmarks.cpu.engine` tells how fast the engine and whisper are, side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cpu.comparison import Plan
from benchmarks.cpu.engine import speech_of
from whisper_fleet.shared.settings import load_settings

pytestmark = pytest.mark.integration


def test_engine_and_whisper_are_measured_side_by_side(tiny_model: Path, speech: dict[Path, str]) -> None:
    command = [sys.executable, "-m", "benchmarks.cpu.engine", "--model", tiny_model, "--model-dir", tiny_model.parent]
    command += ["--rows", "2", "--seconds", "3", "--audio", *speech]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    title, machine, engine, stock, ratio, shares = run.stdout.splitlines()
    assert "2 rows of 3 s" in title
    assert "torch" in machine
    assert engine.startswith("engine, 2 rows") and "times realtime" in engine
    assert stock.startswith("whisper.transcribe()") and "text" in stock
    assert ratio.startswith("engine / whisper.transcribe(): ")
    assert all(kind in shares for kind in ("encode", "prefill", "decode", "idle"))


def test_every_row_hears_the_clips_from_another_one_on(speech: dict[Path, str]) -> None:
    plan = Plan(model="base", model_dir=Path(), device="cpu", rows=3, seconds=40, files=list(speech), ctranslate2=None)
    rows = speech_of(plan, load_settings())
    assert [len(row) for row in rows] == [40 * 16_000] * 3
    assert not np.array_equal(rows[0], rows[1])
    assert all(0.1 < np.abs(row).max() <= 1 for row in rows)
