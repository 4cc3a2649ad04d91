"""The configuration files of supervisord and of the embedded Redis, as text. Pure."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from whisper_fleet.deploy.processes import parent_death
from whisper_fleet.deploy.processes.programs import Program
from whisper_fleet.deploy.processes.state_dir import StateDir
from whisper_fleet.shared.errors import SetupError

#: A process that ends within this time of its start is started again with growing pauses.
_START_SECONDS = 2
_START_TRIES = 1000


def supervisor_config(state: StateDir, redis: Program | None, fleet: Sequence[Program]) -> str:
    """Return supervisord.conf: Redis starts first and stops last, all others start and stop at the same time."""
    parts = [_supervisord(state)]
    if redis is not None:
        parts += [_section("group:store", {"programs": redis.name, "priority": 1}), _program(redis, state)]
    names = ",".join(program.name for program in fleet)
    parts.append(_section("group:fleet", {"programs": names, "priority": 2}))
    parts += [_program(program, state) for program in fleet]
    return "\n".join(parts)


def redis_config(state: StateDir, port: int, password: str) -> str:
    """Return redis.conf: for local clients with the password; a crash loses at most the last second's writes."""
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f"dir {json.dumps(str(state.redis), ensure_ascii=False)}",  # Redis quotes as JSON does
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ]
    )


def tied_to_parent(signal: str, command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` and sends it `signal` when the process that started it dies."""
    return [sys.executable, "-IS", str(Path(parent_death.__file__)), signal, *command]


def _supervisord(state: StateDir) -> str:
    options: dict[str, object] = {
        "nodaemon": "true",
        "silent": "true",
        "logfile": state.logs / "supervisord.log",
        "logfile_maxbytes": "10MB",
        "logfile_backups": 2,
        "pidfile": state.supervisor_pid,
        "childlogdir": state.logs,
        # supervisord raises its own limit to this, 1024 by default, and does not start if that is not allowed.
        "minfds": min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    }
    if os.geteuid() == 0:
        options["user"] = "root"  # otherwise supervisord warns
    return _section("supervisord", options)


def _program(program: Program, state: StateDir) -> str:
    command = tied_to_parent(program.orphan_signal, program.command)
    options: dict[str, object] = {
        "command": shlex.join(command),
        "autorestart": "true",
        "startsecs": _START_SECONDS,
        "startretries": _START_TRIES,
        "stopsignal": "TERM",
        "stopwaitsecs": program.stop_seconds,
        # SIGTERM goes to the process itself, which ends its children in order; SIGKILL goes to all of them.
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        # supervisord expands this option twice.
        "stdout_logfile": str(state.logs / f"{program.name}.log").replace("%", "%%"),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": 3,
    }
    if program.environment:
        options["environment"] = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    return _section(f"program:{program.name}", options)


def _section(name: str, options: dict[str, object]) -> str:
    """Return an ini section with % escaped; SetupError for a value that the format cannot hold."""
    for value in map(str, options.values()):
        if re.search(r"\s[;#]|[\r\n]", value):
            fix = f"{value!r} has a line break, or a ; or # after a space: rename the folder"
            raise SetupError(what="a path that supervisord can read", fix=fix)
    lines = [f"{key}={str(value).replace('%', '%%')}" for key, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])
