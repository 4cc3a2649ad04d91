"""The scheduler decides without a device: none of its processes loads torch, not even through whisper."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
for name in ("whisper_fleet.shared", "whisper_fleet.scheduler"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
print(*sorted({"torch", "whisper", "numba"} & sys.modules.keys()))
"""


def test_no_module_of_scheduler_or_shared_loads_torch() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
