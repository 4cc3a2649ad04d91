"""Another service as processes: its worker, and the program that runs its workflows (tests/support/workflows.py)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("workflows.py")


@contextmanager
def service_worker(python: str, redis_url: str, directory: Path) -> Iterator[None]:
    """The service's worker, which takes its callbacks from the queues `celery` and `service`."""
    options = ["-Q", "celery,service", "-c", "2", "-P", "threads", "--without-mingle", "--without-gossip"]
    command = [python, "-m", "celery", "-A", "workflows", "worker", "-n", "service@test", *options]
    environment = _environment(redis_url, Path())
    with (directory / "service.log").open("ab") as log:
        worker = subprocess.Popen(command, env=environment, cwd=_PROGRAM.parent, stdout=log, stderr=log)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(30)


def run_workflows(
    python: str, redis_url: str, clip: Path, *workflows: str, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Run workflows, or all of them, and return what each gives; `options` are further keywords of `transcribe`."""
    command = [python, str(_PROGRAM), *workflows]
    environment = _environment(redis_url, clip) | {"OPTIONS": json.dumps(options or {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    outcomes: dict[str, Any] = json.loads(done.stdout)
    print(outcomes.pop("celery"), done.stderr)
    return outcomes


def _environment(redis_url: str, clip: Path) -> dict[str, str]:
    """Return an environment that knows nothing of the fleet's package."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return environment | {"REDIS_URL": redis_url, "CLIP": str(clip)}
