"""An engine is started again whatever became of the one before, and killed where it says nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from celery import Celery

from tests.support.in_process_engine import served
from tests.support.stub_pool import StubPool
from tests.support.waiting import wait_until
from whisper_fleet.shared.settings import Settings
from whisper_fleet.workers.engine.engine import Engine
from whisper_fleet.workers.engine.options import Options
from whisper_fleet.workers.node.engine_command import engine_socket
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.node.node import Node

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

#: Takes every connection and answers none.
DEAF = """
import os, socket, sys
if os.path.exists(sys.argv[1]):
    os.remove(sys.argv[1])
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    sys.stdin.read()
"""

#: Lives as long as its standard input; the test answers in its place.
STILL = "import sys; sys.stdin.read()"


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[EngineProcess]:
    socket = tmp_path / "engine.sock"
    process = EngineProcess([sys.executable, "-c", DEAF, str(socket)], {}, socket, lambda: None)
    try:
        yield process
    finally:
        process.kill()
        process.stop()


def test_an_engine_that_could_not_be_started_is_tried_again(
    deaf: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(arguments)
        if len(started) == 1:
            raise OSError(12, "Cannot allocate memory")
        return popen(*arguments, **options)

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    deaf.start()
    wait_until(lambda: len(started) > 1, 20)


def test_an_engine_that_never_answered_is_killed_and_started_again(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, var_dir=tmp_path, device="cpu", heartbeat_interval=0.1, engine_timeout=1.0)
    with Celery(broker=redis_url, set_as_current=False) as app:
        node = Node(app, settings, "gpu0@testhost", StubPool())
        node.engine._command = [sys.executable, "-c", DEAF, str(engine_socket(settings))]
        started = []
        try:
            node.start()
            wait_until(lambda: node.engine._child is not None, 20)
            started.append(node.engine._child)
            wait_until(lambda: node.engine._child is not started[0], 20)
        finally:
            node.stop()


def test_an_engine_whose_device_does_not_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sick(_: torch.device) -> None:
        raise RuntimeError("CUDA driver initialization failed")

    process = EngineProcess([sys.executable, "-c", STILL], {}, tmp_path / "engine.sock", lambda: None)
    engine = Engine(Options(model_dir=tmp_path, device="cpu"))
    try:
        with served(engine, tmp_path / "engine.sock"):
            with monkeypatch.context() as failing:
                asked = Mock(side_effect=sick)
                failing.setattr("whisper_fleet.workers.engine.engine.identity", asked)
                process.start()
                wait_until(lambda: asked.call_count > 1, 20)
            assert process.wait_ready(20)
    finally:
        process.stop()
        engine.close()
