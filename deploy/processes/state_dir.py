"""The state directory of the fleet on this machine, `var`: its layout, its lock and the embedded Redis' address."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from whisper_fleet.shared.embedded_redis import address_file, note_file
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.settings import Settings

#: All that a fleet puts into `run`; other files there are not ours (VAR_DIR may be /var).
_RUN_FILES = ("supervisord.*", "redis.*", "engine-*.sock", "decoder-*", "process-*")


class StateDir:
    """The files below `var_dir`, which one fleet at a time may use."""

    def __init__(self, settings: Settings) -> None:
        self.var = settings.var_dir.absolute()
        self.logs = self.var / "log"
        self.run = self.var / "run"  # emptied when the fleet stops
        self.redis = self.var / "redis"
        self.output = self.var / "output"
        self.supervisor_config = self.run / "supervisord.conf"
        self.supervisor_pid = self.run / "supervisord.pid"
        self.redis_config = self.run / "redis.conf"
        self.redis_url = address_file(settings)
        self._note = note_file(settings)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Reserve the directory for one fleet within the context; SetupError if another one is up in it."""
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
            self._wait_for_predecessor()
            self._empty_run()
            try:
                yield
            finally:
                self._empty_run()

    def embedded_redis_address(self) -> tuple[int, str]:
        """Return the port and the password, the same as last time if the port is free, so that clients keep theirs."""
        port = free_port(int(_remembered(self.redis / "port", "0")))
        password = _remembered(self.redis / "password", secrets.token_urlsafe(24))
        write_private(self.redis / "port", str(port))
        return port, password

    def write_redis_url(self, url: str) -> None:
        """Write the address of the embedded Redis where the commands look for it, from this folder and any other."""
        write_private(self.redis_url, url)
        with contextlib.suppress(OSError):  # without a home, the commands find it from this folder only
            self._note.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._note, str(self.var))

    def _empty_run(self) -> None:
        """Remove the pid files, sockets and configuration of a fleet that has stopped."""
        for pattern in _RUN_FILES:
            for file in self.run.glob(pattern):
                file.unlink()
        with contextlib.suppress(OSError):
            if self._note.read_text() == str(self.var):  # else another fleet was started after this one
                self._note.unlink()

    def _wait_for_predecessor(self) -> None:
        """Wait for the supervisord of a fleet that was killed: it may still be stopping."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            supervisord = psutil.Process(int(self.supervisor_pid.read_text()))
            if str(self.supervisor_config) in supervisord.cmdline():
                supervisord.wait()


def free_port(preferred: int) -> int:
    """Return a TCP port of the loopback interface that is not in use: the preferred one if possible."""
    for candidate in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", candidate))
            return int(probe.getsockname()[1])
    raise SetupError(what="a free TCP port", fix="close some connections")


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read, because it holds the password."""
    file.touch(mode=0o600)
    file.write_text(text)


def _remembered(file: Path, default: str) -> str:
    """Return the file's text; writes `default` the first time, or after a full disk left the file empty."""
    with contextlib.suppress(OSError):
        if remembered := file.read_text():
            return remembered
    write_private(file, default)
    return default
