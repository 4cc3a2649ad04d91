"""The fleet as a user starts it, by the command `whisper-fleet run` or `up` in its own folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).parent / "whisper-fleet")

#: How each process of a fleet is recognised by its command line.
PROGRAMS = {
    "supervisord": r"supervisor\.supervisord",
    "redis": r"redis-server",
    "beat": r"scheduler\.app beat",
    "scheduler": r"-n scheduler@",
    "intake": r"-n intake@",
    "gpu0": r"-n gpu0@",
    "engine": r"workers\.engine",
    "flower": r"monitoring\.flower\w* flower",
}
#: With those that only some fleets have.
ALL_PROGRAMS = {**PROGRAMS, "feeder": r"workers\.feeder", "http": r"-m whisper_fleet\.http"}


def as_in_a_terminal() -> None:
    """Restore default signals: a shell that started the tests with `&` or nohup leaves them ignored."""
    for name in (signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)


class FleetCommand:
    """A running `whisper-fleet` command, and the processes that it started."""

    def __init__(
        self, folder: Path, model_dir: Path, *command: str, prefix: Sequence[str] = (), **variables: str
    ) -> None:
        """Start the command, behind `prefix` and with these environment variables."""
        self.var = folder / "var"
        self.log = folder / f"{command[0]}.log"
        self.environment = {name: value for name, value in os.environ.items() if name != "WHISPER_FLEET_REDIS_URL"}
        self.environment["WHISPER_FLEET_VAR_DIR"] = str(self.var)
        self.environment["WHISPER_FLEET_MODEL_DIR"] = str(model_dir)
        self.environment.update(variables)
        call = [*prefix, COMMAND, *command]
        with self.log.open("w") as log:
            self.front = subprocess.Popen(
                call,
                cwd=REPOSITORY,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=as_in_a_terminal,
            )

    def output(self) -> str:
        """Return what the command has printed so far."""
        return self.log.read_text()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command for the same fleet, as from another terminal."""
        call = [COMMAND, *arguments]
        return subprocess.run(call, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=120)

    def processes(self) -> list[psutil.Process]:
        """Return the fleet's processes, without the command itself."""
        ours = []
        for process in psutil.process_iter():
            try:
                alive = process.pid != self.front.pid and process.status() != psutil.STATUS_ZOMBIE
                if alive and self._owns(process):
                    ours.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return ours

    def _owns(self, process: psutil.Process) -> bool:
        """Return whether a process is the fleet's, by its environment, or its port for Redis."""
        if process.environ().get("WHISPER_FLEET_VAR_DIR") == str(self.var):
            return True
        port = self.var / "redis" / "port"
        title = f"redis-server 127.0.0.1:{port.read_text()}" if port.exists() else None
        return title is not None and title in " ".join(process.cmdline())

    def process(self, program: str) -> psutil.Process | None:
        """Return the main process of a program: the one whose parent is another program."""
        for process in self.processes():
            try:
                parent = process.parent()
                if _is(process, program) and not (parent and _is(parent, program)):
                    return process
            except psutil.NoSuchProcess:
                continue
        return None

    def end(self) -> None:
        """End the command and every process of the fleet."""
        self.front.terminate()
        try:
            self.front.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.front.kill()
            self.front.wait()
        for process in self.processes():
            process.kill()


def _is(process: psutil.Process, program: str) -> bool:
    return re.search(ALL_PROGRAMS[program], " ".join(process.cmdline())) is not None
