"""Runs the complete example of the guide to dynamic concurrency, whose classes are in `whisper_fleet.legacy`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.support.fleet_processes import FleetProcesses

#: The example word for word, `guide_example.txt`; only its import lines and its paths are replaced.
_EXAMPLE = Path(__file__).parents[1] / "data" / "guide_example.txt"
_IMPORTS = {
    "from core.transcription_processor import": "from whisper_fleet.legacy import",
    "from core.queue_manager import": "from whisper_fleet.legacy import",
}
TASKS = 5


def run_guide_example(
    fleet: FleetProcesses, clips: Iterable[Path], folder: Path, model: Path | None = None
) -> list[str]:
    """Run the example with five clips; returns what it printed, by lines.

    `model` is the path of a checkpoint to use instead of base.
    """
    for number, clip in enumerate(clips):
        shutil.copy(clip, folder / f"audio_{number}.wav")
    code = _EXAMPLE.read_text()
    model_name = {"'base'": repr(str(model))} if model else {}
    for old, new in {**_IMPORTS, "/path/to/": f"{folder}/", **model_name}.items():
        assert old in code
        code = code.replace(old, new)
    program = folder / "example.py"
    program.write_text(code)
    command = [sys.executable, str(program)]
    run = subprocess.run(command, cwd=folder, env=fleet.environment, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def check_guide_example(printed: list[str], folder: Path) -> None:
    """Check that every task was submitted, that the example saw the end, and that each transcript is there."""
    assert printed[:TASKS] == [f"已提交任务: task_{number}" for number in range(TASKS)]
    assert printed[-1] == "所有任务完成"
    assert all((folder / f"output_{number}.txt").is_file() for number in range(TASKS))
