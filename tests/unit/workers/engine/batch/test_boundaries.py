"""The batch decides without a device, and only the batcher changes what is in flight."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import whisper_fleet.workers.engine
from whisper_fleet.workers.engine.batch.window import Session, Window

ENGINE = Path(whisper_fleet.workers.engine.__path__[0])
OWNER = ENGINE / "batch" / "batcher.py"
OWNED = {field.name for kind in (Session, Window) for field in fields(kind)}

IMPORT_ALL = """
import importlib, pkgutil, sys
from whisper_fleet.workers.engine import batch, capacity
for module in pkgutil.iter_modules(batch.__path__):
    importlib.import_module(f"{batch.__name__}.{module.name}")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_batch_is_imported_without_torch_whisper_and_redis() -> None:
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "whisper_fleet" in loaded
    assert loaded.isdisjoint({"torch", "whisper", "redis", "celery", "triton"})


def outside_writes(file: Path) -> Iterator[str]:
    """Where a file changes an attribute, of anything but its own `self`, that windows or sessions have."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load) or node.attr not in OWNED:
            continue
        if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            yield f"{file.relative_to(ENGINE)}:{node.lineno} changes .{node.attr}"


def test_only_the_batcher_changes_windows_and_sessions() -> None:
    files = [file for file in ENGINE.rglob("*.py") if file != OWNER]
    assert [write for file in files for write in outside_writes(file)] == []
    assert list(outside_writes(OWNER))  # so the search finds what it looks for
