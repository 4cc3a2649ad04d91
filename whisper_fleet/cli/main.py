"""The command line: `whisper-fleet COMMAND`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

import click
from celery.exceptions import OperationalError as CeleryOperationalError
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from whisper_fleet.cli.exit_codes import ExitCode
from whisper_fleet.cli.extras import missing_extras, unavailable
from whisper_fleet.shared.display.log_records import configure_log_records
from whisper_fleet.shared.display.text import printable, printable_text
from whisper_fleet.shared.embedded_redis import is_embedded, local_settings
from whisper_fleet.shared.errors import FleetError, JobNotFinished, JobNotFound, ServerRefused, ServerUnreachable
from whisper_fleet.shared.settings import load_settings
from whisper_fleet.shared.settings.file import VARIABLE

#: The module of each command, and the extras without which it cannot be loaded, or cannot do anything.
_COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "submit": ("jobs.submit", ()),
    "status": ("jobs.listing", ()),
    "list": ("jobs.listing", ()),
    "top": ("top.command", ()),
    "wait": ("jobs.waiting", ()),
    "result": ("jobs.result", ()),
    "cancel": ("jobs.ending", ()),
    "retry": ("jobs.ending", ()),
    "delete": ("jobs.ending", ()),
    "selftest": ("selftest", ()),
    "dead-letters": ("dead_letters", ()),
    "webhooks": ("webhooks", ()),
    "doctor": ("machine.doctor", ("server",)),
    "config": ("machine.config", ()),
    "redis-acl": ("machine.redis_acl", ()),
    "keys": ("keys", ()),
    "usage": ("keys", ()),
    "slots": ("machine.slots", ("server",)),
    "plan": ("machine.plan", ("server",)),
    "fetch": ("machine.fetch", ("gpu",)),
    "up": ("machine.up", ("server",)),
    "serve": ("machine.serve", ("server",)),
    "reload": ("machine.reload", ("server",)),
    "bundle": ("machine.bundle", ()),
    "health": ("machine.health", ("server",)),
    "run": ("machine.up", ("server", "gpu")),
    "completion": ("completion", ()),
}
#: Functions that are not named like their command.
_FUNCTIONS = {"list": "list_jobs"}


class _Commands(click.Group):
    """Loads a command when it is named: the light installation has only some of what they import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, extras = _COMMANDS[cmd_name]
        if missing := missing_extras(extras):
            return unavailable(cmd_name, missing)
        function = _FUNCTIONS.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = getattr(import_module(f"whisper_fleet.cli.{module}"), function)
        return command


_CODES: dict[type[Exception], ExitCode] = {
    JobNotFinished: ExitCode.NOT_FINISHED,
    JobNotFound: ExitCode.NOT_FOUND,
    ServerUnreachable: ExitCode.UNREACHABLE,
    ServerRefused: ExitCode.UNREACHABLE,
}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whisper-fleet")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file, in TOML.")
def commands(file: Path | None) -> None:
    """Transcribe audio with OpenAI Whisper on many GPUs.

    Settings come from WHISPER_FLEET_* in the environment, else from the settings file: see `whisper-fleet config`.
    """
    if file is not None:
        os.environ[VARIABLE] = str(file.absolute())  # for this process and those that it starts
    configure_log_records()
    logging.basicConfig(level=load_settings().log_level, format="%(levelname)s %(name)s: %(message)s")


def main() -> None:
    """Run a command; a failure ends as one sentence on standard error and one of the exit codes."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:  # nohup ignores it, to outlive its terminal
            signal.signal(name, _stop)
    try:
        commands(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # such as `whisper-fleet list | head`
        # Python flushes at exit, and would report the closed pipe once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except (FleetError, RedisError, OperationalError, CeleryOperationalError, OSError) as error:
        sentence, code = _explained(error)
        click.echo(sentence, err=True)
        sys.exit(code)


def _explained(error: Exception) -> tuple[str, ExitCode]:
    """Return what went wrong, where, and what to do, as one sentence, and the exit code for it."""
    match error:
        case FleetError():
            return printable_text(f"{type(error).__name__}: {error}"), _CODES.get(type(error), ExitCode.FAILED)
        case AuthenticationError():
            fix = "is WHISPER_FLEET_REDIS_URL right?"
            return f"Redis at {_where()} refuses us ({error}): {fix}", ExitCode.UNREACHABLE
        case ResponseError():  # it is full, or a replica, or lacks the database
            fix = "see `whisper-fleet doctor`"
            return f"Redis at {_where()} answers, but refuses ({error}): {fix}.", ExitCode.UNREACHABLE
        case RedisError() | OperationalError() | CeleryOperationalError():
            return _no_answer(error), ExitCode.UNREACHABLE
        case OSError():  # a full disk, or a folder without permission
            return printable(f"{error.filename or type(error).__name__}: {error.strerror or error}"), ExitCode.FAILED
    raise error


def _stop(number: int, frame: FrameType | None) -> None:
    """End a command in order on termination or a closed terminal, like Ctrl-C."""
    sys.exit(128 + number)


def _no_answer(error: Exception) -> str:
    if is_embedded(local_settings()):  # neither is one configured, nor is the address of a fleet's own known
        fix = "start one with `whisper-fleet up`, or name its Redis with WHISPER_FLEET_REDIS_URL"
        return f"No fleet is up on this machine: {fix}."
    fix = "start the fleet, or correct WHISPER_FLEET_REDIS_URL"
    return printable(f"Redis at {_where()} does not answer ({error}): {fix}.")


def _where() -> str:
    return local_settings().redis_url.rsplit("@", 1)[-1]
