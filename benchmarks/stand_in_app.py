"""The Celery app of a real GPU node whose engine is the stand-in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from workers import node
from workers.app import app

__all__ = ["app"]

#: Where `benchmarks.node` says how long the stand-in takes for a window.
SECONDS = "BENCHMARK_WINDOW_SECONDS"


def _stand_in(settings: Any, device: Any, socket: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.stand_in_engine", str(socket), os.environ[SECONDS]]


node.engine_command = _stand_in  # type: ignore[attr-defined]  # it is imported there
