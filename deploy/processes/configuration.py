"""What supervisord and the embedded Redis are told, as the text of their configuration files. Pure."""

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

#: A process that ends sooner than this after its start is started again with growing pauses.
_START_SECONDS = 2
_START_TRIES = 1000


def supervisor_config(home: StateDir, redis: Program | None, fleet: Sequence[Program]) -> str:
    """Redis comes first and goes last; all others start, and stop, at the same time."""
    parts = [_supervisord(home)]
    if redis is not None:
        parts += [_section("group:store", {"programs": redis.name, "priority": 1}), _program(redis, home)]
    names = ",".join(program.name for program in fleet)
    parts.append(_section("group:fleet", {"programs": names, "priority": 2}))
    parts += [_program(program, home) for program in fleet]
    return "\n".join(parts)


def redis_config(home: StateDir, port: int, password: str) -> str:
    """Only for this machine and who knows the password; a crash costs at most the last second's writes."""
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f"dir {json.dumps(str(home.redis), ensure_ascii=False)}",  # its way of quoting is JSON's
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ]
    )


def tied_to_parent(signal: str, command: Sequence[str]) -> list[str]:
    """A command that gets `signal` when the process that starts it dies."""
    return [sys.executable, "-IS", str(Path(parent_death.__file__)), signal, *command]


def _supervisord(home: StateDir) -> str:
    options: dict[str, object] = {
        "nodaemon": "true",
        "silent": "true",
        "logfile": home.logs / "supervisord.log",
        "logfile_maxbytes": "10MB",
        "logfile_backups": 2,
        "pidfile": home.supervisor_pid,
        "childlogdir": home.logs,
        # It raises its own limit to this, its default, and refuses to start where it may not.
        "minfds": min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    }
    if os.geteuid() == 0:
        options["user"] = "root"  # says that this is meant
    return _section("supervisord", options)


def _program(program: Program, home: StateDir) -> str:
    command = tied_to_parent(program.orphan_signal, program.command)
    options: dict[str, object] = {
        "command": shlex.join(command),
        "autorestart": "true",
        "startsecs": _START_SECONDS,
        "startretries": _START_TRIES,
        "stopsignal": "TERM",
        "stopwaitsecs": program.stop_seconds,
        # SIGTERM is for the process itself, which ends its children in order; SIGKILL is for all of them.
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        # Of this option supervisor expands what it has expanded.
        "stdout_logfile": str(home.logs / f"{program.name}.log").replace("%", "%%"),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": 3,
    }
    if program.environment:
        options["environment"] = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    return _section(f"program:{program.name}", options)


def _section(name: str, options: dict[str, object]) -> str:
    """An ini section; supervisor would expand a single %. SetupError for what it cannot be told."""
    for value in map(str, options.values()):
        if re.search(r"\s[;#]|[\r\n]", value):
            fix = f"{value!r} has a line break, or a ; or # after a blank: rename the folder"
            raise SetupError(what="a path that supervisord reads to its end", fix=fix)
    lines = [f"{key}={str(value).replace('%', '%%')}" for key, value in options.items()]
    return "\n".join([f"[{name}]", *lines, ""])
