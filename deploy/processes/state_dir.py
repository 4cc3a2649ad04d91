"""The fleet's own folder, `var`: what lies where, who may use it, and the address of the embedded Redis."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.settings import Settings, load_settings

_FLOWER_PORT = 5555
REDIS_URL = "WHISPER_FLEET_REDIS_URL"
#: All that a fleet puts into `run`; what else lies there is not ours (VAR_DIR may be /var).
_RUN_FILES = ("supervisord.*", "redis.*", "beat-schedule*", "engine-*.sock")


class StateDir:
    """The folders below `var_dir`; one fleet at a time may be up in it."""

    def __init__(self, settings: Settings) -> None:
        self.var = settings.var_dir.absolute()
        self.logs = self.var / "log"
        self.run = self.var / "run"  # emptied when the fleet stops
        self.redis = self.var / "redis"
        self.output = self.var / "output"
        self.supervisor_config = self.run / "supervisord.conf"
        self.supervisor_pid = self.run / "supervisord.pid"
        self.redis_config = self.run / "redis.conf"
        self.redis_url = self.run / "redis.url"
        self.beat_schedule = self.run / "beat-schedule"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Holds the home for one fleet; SetupError when another one is up in it."""
        for folder in (self.var, self.logs, self.output):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.run, self.redis):
            folder.mkdir(mode=0o700, exist_ok=True)
        with (self.var / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SetupError(
                    what=f"a free {self.var}", fix="a fleet is up in it already: stop it, or use that one"
                ) from None
            self._outlive_predecessor()
            self.empty_run()
            try:
                yield
            finally:
                self.empty_run()

    def empty_run(self) -> None:
        """Pid files, sockets and configuration of a fleet that is not up any more."""
        for names in _RUN_FILES:
            for file in self.run.glob(names):
                file.unlink()

    def embedded_redis_address(self) -> tuple[int, str]:
        """Port and password, the same as last time if the port is still free: clients keep their URL."""
        port = free_port(_remembered(self.redis / "port", "0"))
        password = _remembered(self.redis / "password", secrets.token_urlsafe(24))
        write_private(self.redis / "port", str(port))
        return port, password

    def tell_redis_url(self, url: str) -> None:
        """For the commands that people type in another terminal."""
        write_private(self.redis_url, url)

    def _outlive_predecessor(self) -> None:
        """A fleet whose front was killed may still be stopping: wait for its supervisor."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            supervisor = psutil.Process(int(self.supervisor_pid.read_text()))
            if str(self.supervisor_config) in supervisor.cmdline():
                supervisor.wait()


def use_embedded_redis() -> Settings:
    """This process's settings, with the Redis of the fleet that is up here unless one is configured."""
    settings = load_settings()
    with contextlib.suppress(OSError):
        if "redis_url" not in settings.model_fields_set:
            os.environ[REDIS_URL] = StateDir(settings).redis_url.read_text()
            load_settings.cache_clear()
    return load_settings()


def flower_port() -> int:
    """Flower's usual port, or any other that is free."""
    return free_port(str(_FLOWER_PORT))


def free_port(preferred: str) -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    for candidate in (int(preferred), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", candidate))
            return int(probe.getsockname()[1])
    raise SetupError(what="a free TCP port", fix="close some connections")


def _remembered(file: Path, fresh: str) -> str:
    """What the file says; `fresh`, written there, the first time, or after a full disk left it empty."""
    with contextlib.suppress(OSError):
        if said := file.read_text():
            return said
    write_private(file, fresh)
    return fresh


def write_private(file: Path, text: str) -> None:
    """For what holds the password."""
    file.touch(mode=0o600)
    file.write_text(text)
