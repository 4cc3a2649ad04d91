"""The fleet in the foreground: supervisord restarts the processes, and this process restarts supervisord."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.configuration import redis_config, supervisor_config, tied_to_parent
from whisper_fleet.deploy.processes.host_conflict import refuse_host_conflict
from whisper_fleet.deploy.processes.ports import choose_ports
from whisper_fleet.deploy.processes.state_dir import StateDir, write_private
from whisper_fleet.scheduler.capacity.devices import read_devices
from whisper_fleet.shared import binaries
from whisper_fleet.shared.embedded_redis import is_embedded
from whisper_fleet.shared.errors import SetupError
from whisper_fleet.shared.host import read_host
from whisper_fleet.shared.names import Role
from whisper_fleet.shared.settings import Settings

_log = logging.getLogger(__name__)

_ALL_ADDRESSES = ("", "0.0.0.0", "::")  # noqa: S104  # compared, not bound
_POLL_SECONDS = 0.2
_RESTART_PAUSE_SECONDS = 1.0
#: Longer than any process of the fleet may take to stop, see programs.Program.stop_seconds.
_STOP_MARGIN_SECONDS = 40.0


class Supervisor:
    """Starts supervisord with the fleet's processes, starts it again when it dies, and stops it.

    `settings` are those that the processes get: with the address of the embedded Redis if none was configured.
    """

    def __init__(self, state: StateDir, settings: Settings) -> None:
        self.state = state
        self.roles = frozenset(settings.roles or Role)
        self.is_embedded = is_embedded(settings)
        if self.is_embedded and Role.SCHEDULER not in self.roles:
            fix = "set WHISPER_FLEET_REDIS_URL, because only a machine with the role scheduler brings its own"
            raise SetupError(what="the address of the fleet's Redis", fix=fix)
        self._redis_address = state.embedded_redis_address() if self.is_embedded else None
        if self._redis_address is not None:
            settings = settings.model_copy(update={"redis_url": _url(*self._redis_address)})
        self.settings = settings
        self._ports = choose_ports(settings, self.roles)
        self._fleet = programs.fleet(
            settings,
            gpus=[gpu.index for gpu in read_devices(settings).gpus],
            cores=read_host().cores,
            ports=self._ports,
            roles=self.roles,
        )
        self.flower_url = f"http://{_host_of(settings.flower_address, settings)}:{self._ports.flower}"
        self._stop = threading.Event()
        self._kill = threading.Event()
        self._guard = threading.Thread(target=self._keep_supervisord, name="guard")

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the programs that run, without Redis."""
        return tuple(program.name for program in self._fleet)

    @property
    def http_url(self) -> str | None:
        """The address of the HTTP server; None if there is none."""
        host = _host_of(self.settings.http_address, self.settings)
        return None if self._ports.http is None else f"http://{host}:{self._ports.http}"

    @property
    def probed_settings(self) -> Settings:
        """The settings with the ports at which the servers of this machine do listen."""
        ports = {"flower_port": self._ports.flower, "http_port": self._ports.http}
        return self.settings.model_copy(update=ports)

    @property
    def is_running(self) -> bool:
        """Whether supervisord is kept running."""
        return self._guard.is_alive()

    def start(self) -> None:
        """Write the configuration and start everything; returns at once."""
        self._configure()
        self._guard.start()

    def stop(self) -> None:
        """Stop everything and wait until it has ended; Ctrl-C meanwhile kills it."""
        self._stop.set()
        while self._guard.is_alive():
            try:
                self._guard.join()
            except KeyboardInterrupt:
                self._kill.set()

    def _configure(self) -> None:
        redis = None
        if self._redis_address is not None:
            write_private(self.state.redis_config, redis_config(self.state, *self._redis_address))
            self.state.write_redis_url(self.settings.redis_url)
            redis = programs.redis(binaries.redis_server(), self.state.redis_config)
        self.state.supervisor_config.write_text(supervisor_config(self.state, redis, self._fleet))

    def _keep_supervisord(self) -> None:
        """Run supervisord until we stop; if it dies, its processes die and come back with it."""
        while not self._stop.is_set():
            self._run_supervisord()
            if not self._stop.wait(_RESTART_PAUSE_SECONDS):
                _log.warning("supervisord died and is started again")

    def _run_supervisord(self) -> None:
        """Run supervisord once, until it dies or we stop."""
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.state.supervisor_config)]
        supervisord = subprocess.Popen(
            tied_to_parent("SIGTERM", command),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches this process only, which then stops it in order
        )
        while supervisord.poll() is None and not self._stop.wait(_POLL_SECONDS):
            pass
        self._end(supervisord)

    def _end(self, supervisord: subprocess.Popen[bytes]) -> None:
        """Ask supervisord to stop everything in order; kill it if that takes too long, which ends the processes."""
        supervisord.terminate()
        seconds_left = self.settings.drain_timeout + _STOP_MARGIN_SECONDS
        while supervisord.poll() is None:
            seconds_left -= _POLL_SECONDS
            if self._kill.wait(_POLL_SECONDS) or seconds_left < 0:
                supervisord.kill()
                supervisord.wait()

    def _environment(self) -> dict[str, str]:
        """Return the environment from which every process reads its settings; command lines hold no password."""
        settings = {
            "WHISPER_FLEET_REDIS_URL": self.settings.redis_url,
            "WHISPER_FLEET_VAR_DIR": str(self.state.var),
            "WHISPER_FLEET_HEALTH_PORT": "0",  # the machine has one port for all
        }
        return {**os.environ, **settings}


@contextlib.contextmanager
def running_fleet(settings: Settings) -> Iterator[Supervisor]:
    """Run this machine's roles within the context, with an embedded Redis unless one is configured."""
    state = StateDir(settings)
    with state.locked():
        supervisor = Supervisor(state, settings)
        if not supervisor.is_embedded and Role.GPU in supervisor.roles:
            refuse_host_conflict(supervisor.settings)
        supervisor.start()
        try:
            yield supervisor
        finally:
            supervisor.stop()


def _host_of(address: str, settings: Settings) -> str:
    """Return the host under which a program is reached: an address such as 0.0.0.0 means all of this host's."""
    if address in _ALL_ADDRESSES:
        return settings.host
    return f"[{address}]" if ":" in address else address


def _url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"
