"""Which of the package's extras are installed: `pip install whisper-fleet` brings the client and its commands only."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

import click

from whisper_fleet.shared.errors import SetupError

#: Modules that only the extra brings.
_MODULES = {"server": ("psutil", "supervisor", "flower", "numpy"), "gpu": ("torch", "whisper", "numba")}


def missing_extras(extras: Iterable[str]) -> list[str]:
    """Return those of the extras that are not installed."""
    return [extra for extra in extras if not all(find_spec(module) for module in _MODULES[extra])]


def unavailable(name: str, missing: list[str]) -> click.Command:
    """Return a command that only reports which extras to install."""
    install = f"pip install 'whisper-fleet[{','.join(missing)}]'"

    def fail(arguments: tuple[str, ...]) -> None:
        raise SetupError(what=f"what `{name}` needs", fix=install)

    return click.Command(
        name,
        callback=fail,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        help=f"Not installed: {install}.",
        add_help_option=False,
    )
