"""The Celery app of a real GPU node whose engine is the stand-in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from whisper_fleet.workers.app import app
from whisper_fleet.workers.node import node

__all__ = ["app"]

#: Where `benchmarks.cpu.node` says how long the stand-in takes for a window.
SECONDS = "BENCHMARK_WINDOW_SECONDS"


def _stand_in(settings: Any, device: Any, socket: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.support.stand_in_engine", str(socket), os.environ[SECONDS]]


node.engine_command = _stand_in  # type: ignore[attr-defined]  # it is imported there
