"""A node of an older version beside this one, as in a rolling upgrade."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from tests.chaos.rows import row
from tests.chaos.scene.scene import Scene
from tests.support.fleet_command import REPOSITORY
from tests.support.process_tree import descendants
from tests.support.waiting import wait_until
from whisper_fleet.shared.ledger import keys

#: Before messages were taken in one step, and before a job's language was detected once.
_VERSION = "b7270e0664661ed41e44a78b367ba54a367da26d"
_HOST = "older"
_GPU = f"{_HOST}.0"


@contextmanager
def _older_node(scene: Scene) -> Iterator[None]:
    code = _check_out(scene.folder / "older")
    log = scene.folder / "older.log"
    celery = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "custom", "-c", "4"]
    command = [*celery, "-n", f"gpu0@{_HOST}", "-Q", f"gpu.{_GPU}", "-l", "INFO"]
    environment = {
        **os.environ,
        **scene.variables,
        "WHISPER_FLEET_HOST": _HOST,
        "WHISPER_FLEET_VAR_DIR": str(scene.folder / "older-var"),
        "WHISPER_FLEET_MODEL_DIR": str(scene.folder),
        "CELERY_CUSTOM_WORKER_POOL": "workers.pool:SlotPool",
        "PYTHONPATH": str(code),
    }
    with log.open("ab") as out:
        node = subprocess.Popen(command, cwd=code, env=environment, stdout=out, stderr=out)
    try:
        wait_until(lambda: any(gpu.id == _GPU and gpu.ready for gpu in scene.registry.all()), 120, interval=0.1)
        yield
    finally:
        children = descendants(node.pid)
        node.terminate()
        try:
            node.wait(60)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()
        for child in children:
            if child.is_running():
                child.kill()


def _check_out(folder: Path) -> Path:
    """Write the older version's files to `folder`; its engine is made reproducible, which its settings cannot do."""
    folder.mkdir(exist_ok=True)
    archive = subprocess.run(["git", "-C", str(REPOSITORY), "archive", _VERSION], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    command = folder / "workers" / "engine_command.py"
    source = command.read_text()
    assert '"serve", *words' in source
    command.write_text(source.replace('"serve", *words', '"serve", "--reproducible", *words'))
    return folder


def _has_worked(scene: Scene, jobs: Sequence[str]) -> Sequence[str]:
    done = cast("str | None", scene.redis.hget(keys.COUNTS, f"segments_done/{_GPU}"))
    return [] if int(done or 0) else ["the older node has finished no segment"]


@row(
    "a node of an older version, its engine and a node of this version killed",
    staging=_older_node,
    check=_has_worked,
    needs=("history",),
)
def older(scene: Scene) -> None:
    status = next(gpu for gpu in scene.registry.all() if gpu.id == _GPU)
    assert status.engine_pid is not None
    subprocess.run(["kill", "-KILL", str(status.engine_pid)], check=False)
    scene.left.process("gpu0").kill()
