"""What the machine permits."""

from __future__ import annotations

import shutil
import subprocess

from tests.chaos.rows import Need, Row
from tests.chaos.scene.scene import Scene
from tests.support.fleet_command import REPOSITORY

#: Why a row is skipped, by what the machine lacks.
_REASONS: dict[Need, str] = {
    "network": "this user may not make network namespaces (ip netns)",
    "mount": "this user may not mount a file system",
    "history": "there is no git history here",
    "compiler": "there is no C compiler (cc)",
}


def missing(row: Row, scene: Scene) -> str | None:
    """Return why a row cannot run here; None: it can."""
    has = {
        "network": scene.network is not None,
        "mount": scene.spool.is_limited,
        "history": _has_history(),
        "compiler": shutil.which("cc") is not None,
    }
    return next((_REASONS[need] for need in row.needs if not has[need]), None)


def _has_history() -> bool:
    command = ["git", "-C", str(REPOSITORY), "rev-list", "--count", "HEAD"]
    try:
        counted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return counted.returncode == 0 and int(counted.stdout) > 1
