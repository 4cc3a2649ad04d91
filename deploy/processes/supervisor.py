"""The fleet in the foreground: a supervisord keeps all processes alive, and this process keeps it alive."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil

from whisper_fleet.deploy.processes import programs
from whisper_fleet.deploy.processes.configuration import redis_config, supervisor_config, tied_to_parent
from whisper_fleet.deploy.processes.host_conflict import refuse_host_conflict
from whisper_fleet.deploy.processes.state_dir import REDIS_URL, StateDir, flower_port, write_private
from whisper_fleet.scheduler.capacity.devices import read_devices
from whisper_fleet.shared import binaries
from whisper_fleet.shared.settings import Settings

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_RESTART_PAUSE_SECONDS = 1.0
#: Longer than any process of the fleet may take to stop, see programs.Program.stop_seconds.
_STOP_MARGIN_SECONDS = 40.0


class Supervisor:
    """What runs in the foreground: the addresses of the fleet, and the thread that guards its supervisor."""

    def __init__(self, home: StateDir, settings: Settings) -> None:
        self.home = home
        self.is_embedded = "redis_url" not in settings.model_fields_set
        self._redis_address = home.embedded_redis_address() if self.is_embedded else None
        self.redis_url = _url(self._redis_address) if self._redis_address else settings.redis_url
        self._flower_port = flower_port()
        self.flower_url = f"http://127.0.0.1:{self._flower_port}"
        self._settings = settings
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._guard = threading.Thread(target=self._keep_supervisor, name="guard")

    def start(self) -> None:
        """Writes the configuration and starts everything; returns at once."""
        self._configure()
        self._guard.start()

    def stop(self) -> None:
        """Ends everything and waits for it; Ctrl-C meanwhile ends it the hard way."""
        self._stop.set()
        while self._guard.is_alive():
            try:
                self._guard.join()
            except KeyboardInterrupt:
                self._hurry.set()

    def _configure(self) -> None:
        redis = None
        if self._redis_address:
            write_private(self.home.redis_config, redis_config(self.home, *self._redis_address))
            self.home.tell_redis_url(self.redis_url)
            redis = programs.redis(binaries.redis_server(), self.home.redis_config)
        fleet = programs.fleet(
            self._settings,
            gpus=[gpu.index for gpu in read_devices(self._settings).gpus],
            cores=psutil.cpu_count(logical=False) or 1,
            beat_schedule=self.home.beat_schedule,
            flower_port=self._flower_port,
        )
        self.home.supervisor_config.write_text(supervisor_config(self.home, redis, fleet))

    def _keep_supervisor(self) -> None:
        """Until we stop: a supervisor that dies takes its processes with it, and they come back with it."""
        while not self._stop.is_set():
            self._supervise()
            if not self._stop.wait(_RESTART_PAUSE_SECONDS):
                _log.warning("the supervisor died and is started again")

    def _supervise(self) -> None:
        """One life of a supervisor."""
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.home.supervisor_config)]
        supervisor = subprocess.Popen(
            tied_to_parent("SIGTERM", command),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
        while supervisor.poll() is None and not self._stop.wait(_LOOK_SECONDS):
            pass
        self._end(supervisor)

    def _end(self, supervisor: subprocess.Popen[bytes]) -> None:
        """Asks it to end everything in order; if it cannot, its death ends them."""
        supervisor.terminate()
        patience = self._settings.drain_timeout + _STOP_MARGIN_SECONDS
        while supervisor.poll() is None:
            patience -= _LOOK_SECONDS
            if self._hurry.wait(_LOOK_SECONDS) or patience < 0:
                supervisor.kill()
                supervisor.wait()

    def _environment(self) -> dict[str, str]:
        """What every process reads its settings from; the Redis password is in no command line."""
        own = {REDIS_URL: self.redis_url, "WHISPER_FLEET_VAR_DIR": str(self.home.var)}
        return {**os.environ, **own}


@contextlib.contextmanager
def fleet_up(settings: Settings) -> Iterator[Supervisor]:
    """The whole fleet, for as long as the context: with an embedded Redis unless one is configured."""
    home = StateDir(settings)
    with home.taken():
        front = Supervisor(home, settings)
        if not front.is_embedded:
            refuse_host_conflict(front.redis_url, settings)
        front.start()
        try:
            yield front
        finally:
            front.stop()


def _url(address: tuple[int, str]) -> str:
    port, password = address
    return f"redis://:{password}@127.0.0.1:{port}/0"
