"""The kernel that chooses tokens equals the plain rules; Triton's interpreter replaces the GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_kernel_chooses_and_appends_the_tokens_of_the_plain_rules() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "tests.support.select_kernel_cases"]
    child = subprocess.run(
        command,
        cwd=Path(__file__).parents[5],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert child.returncode == 0, child.stderr
