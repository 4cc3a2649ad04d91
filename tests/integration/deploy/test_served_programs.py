"""Each service of the compose file is started as it is written there, without docker, and its health check passes.

The commands of the systemd units and the Kubernetes manifests are the same ones; tests/unit/deploy compares them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.redis_server import free_port
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]

COMPOSE = Path(__file__).parents[3] / "deploy" / "docker" / "compose.yaml"
COMMAND = str(Path(sys.executable).parent / "whisper-fleet")


def services() -> dict[str, dict[str, Any]]:
    """Return the services of the compose file that serve a program of the fleet."""
    every = yaml.safe_load(COMPOSE.read_text())["services"]
    return {name: service for name, service in every.items() if service.get("command", [""])[0] == "serve"}


class Machine:
    """What the containers of one machine share: settings as the image and the compose file give them, and the logs."""

    def __init__(self, folder: Path, redis_url: str, model: Path) -> None:
        self._folder = folder
        self._own = {  # what compose and the image take from the machine
            "WHISPER_FLEET_REDIS_URL": redis_url,
            "WHISPER_FLEET_VAR_DIR": str(folder / "var"),
            "WHISPER_FLEET_MODEL_DIR": str(model.parent),
            "WHISPER_FLEET_SPOOL_DIR": str(folder / "spool"),
            "WHISPER_FLEET_UPLOAD_DIR": str(folder / "uploads"),
            "WHISPER_FLEET_MEDIA_ROOTS": f'["{folder}"]',
            "WHISPER_FLEET_DEFAULT_MODEL": model.stem,
            "WHISPER_FLEET_DEVICE": "cpu",
            "WHISPER_FLEET_HTTP_PORT": str(free_port()),
            "WHISPER_FLEET_FLOWER_PORT": str(free_port()),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, service: dict[str, Any]) -> dict[str, str]:
        """Return a service's variables, with compose's defaults, and this machine's in place of its volumes."""
        written = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for name, text in service["environment"].items()}
        return {**os.environ, **written, **self._own, "FLOWER_BASIC_AUTH": "admin:secret"}

    def start(self, name: str, service: dict[str, Any]) -> None:
        with (self._folder / f"{name}.log").open("w") as log:
            command = [COMMAND, *service["command"]]
            self.processes[name] = subprocess.Popen(
                command, env=self.environment(service), stdout=log, stderr=log, cwd=self._folder
            )

    def is_healthy(self, name: str, service: dict[str, Any]) -> bool:
        """Run a service's health check as docker would; fail if its process has ended."""
        assert self.processes[name].poll() is None, (self._folder / f"{name}.log").read_text()
        kind, program, *arguments = service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "whisper-fleet")
        check = subprocess.run([COMMAND, *arguments], env=self.environment(service), capture_output=True, timeout=60)
        return check.returncode == 0

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(60)


@pytest.fixture
def machine(tmp_path: Path, redis_url: str, tiny_model: Path) -> Iterator[Machine]:
    """A machine on which all services of the compose file run."""
    machine = Machine(tmp_path, redis_url, tiny_model)
    try:
        yield machine
    finally:
        machine.stop()


def test_every_service_of_the_compose_file_starts_and_is_healthy(machine: Machine) -> None:
    for name, service in services().items():
        machine.start(name, service)
    for name, service in services().items():
        wait_until(lambda name=name, service=service: machine.is_healthy(name, service), 120.0, interval=1.0)  # type: ignore[misc]
