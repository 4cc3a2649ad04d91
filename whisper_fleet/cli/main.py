"""The command line: `whisper-fleet COMMAND`."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType

import click
from celery.exceptions import OperationalError as CeleryOperationalError
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from whisper_fleet.cli.doctor import doctor
from whisper_fleet.cli.jobs import cancel, result, status, submit
from whisper_fleet.cli.slots import slots
from whisper_fleet.cli.up import run, up
from whisper_fleet.shared.errors import FleetError
from whisper_fleet.shared.settings import load_settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whisper-fleet")
def commands() -> None:
    """Transcribe audio with OpenAI Whisper on many GPUs. Settings: WHISPER_FLEET_* in the environment."""
    logging.basicConfig(level=load_settings().log_level, format="%(levelname)s %(name)s: %(message)s")


for command in (submit, status, result, cancel, doctor, slots, up, run):
    commands.add_command(command)


def main() -> None:
    """Runs a command; what can go wrong ends as one sentence and exit code 1, Ctrl-C as 130."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:  # as after nohup, which is to outlive its terminal
            signal.signal(name, _stop)
    try:
        commands(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except FleetError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except AuthenticationError as error:
        sys.exit(f"Redis at {_where()} refuses us ({error}): is WHISPER_FLEET_REDIS_URL right?")
    except ResponseError as error:  # it is full, or a replica, or lacks the database
        sys.exit(f"Redis at {_where()} answers, but refuses ({error}): see `whisper-fleet doctor`.")
    except (RedisError, OperationalError, CeleryOperationalError) as error:
        sys.exit(f"Redis at {_where()} does not answer ({error}): start a fleet with `make up`.")
    except OSError as error:  # a folder that is full or not ours
        sys.exit(f"{error.filename or type(error).__name__}: {error.strerror or error}")


def _stop(number: int, frame: FrameType | None) -> None:
    """Termination, or a closed terminal, ends a command in order, like Ctrl-C."""
    sys.exit(128 + number)


def _where() -> str:
    return load_settings().redis_url.rsplit("@", 1)[-1]
