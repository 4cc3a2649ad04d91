"""The only reader of the environment: each process calls `load_settings()` once and passes the object on.

A setting is a field of one of the groups beside this module. Its value comes from the variable WHISPER_FLEET_<NAME>,
else from the settings file, else it is the default. A reload changes values of the object (reload.py).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from pydantic_settings.sources import PydanticBaseSettingsSource

from whisper_fleet.shared.errors import BadSetting, SetupError
from whisper_fleet.shared.request.limits import Limits
from whisper_fleet.shared.settings.file import SettingsFile, settings_file
from whisper_fleet.shared.settings.http import Http
from whisper_fleet.shared.settings.intervals import Intervals
from whisper_fleet.shared.settings.jobs import Jobs
from whisper_fleet.shared.settings.machine import Machine
from whisper_fleet.shared.settings.places import Places
from whisper_fleet.shared.settings.slots import Slots

PREFIX = "WHISPER_FLEET_"
_LIST = 'a list is JSON, such as ["/data", "/media"]'

#: The groups of settings in the order in which pages show them, each with its title.
GROUPS: dict[str, type[BaseSettings]] = {
    "Where things are": Places,
    "Jobs": Jobs,
    "Limits": Limits,
    "Slots": Slots,
    "HTTP server": Http,
    "Intervals and timeouts": Intervals,
    "This machine and this process": Machine,
}


class Settings(Machine, Intervals, Http, Slots, Limits, Jobs, Places):
    """Every setting of the fleet. A variable WHISPER_FLEET_<NAME> that is not empty overrides the settings file.

    The unit of a number is in its field: the names are older than this rule, and stay as they are.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # EXCLUDE_GPUS=[0]
        allow_inf_nan=False,
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **named: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where values come from: arguments, then the environment, then the settings file."""
        return named["init_settings"], named["env_settings"], SettingsFile(settings_cls)

    @property
    def spool(self) -> Path:
        """Return the directory of the planned segments' audio."""
        return self.spool_dir or self.var_dir / "spool"

    @property
    def uploads(self) -> Path:
        """Return the directory of uploaded files."""
        return self.upload_dir or self.var_dir / "uploads"

    @property
    def models(self) -> Path:
        """Return the model directory with `~` resolved; SetupError where the user has no home."""
        try:
            return self.model_dir.expanduser()
        except RuntimeError:
            raise SetupError(what="a home directory", fix="set WHISPER_FLEET_MODEL_DIR") from None


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Return the settings of this process, read once; BadSetting names what is wrong and where it is set."""
    return read_settings()


def read_settings() -> Settings:
    """Read the environment and the settings file now; BadSetting names what is wrong and where it is set."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name, reason = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = "there is no such setting; see docs/reference/settings.md"
        reason = _LIST if first["type"] == "tuple_type" and is_set_by_variable(name) else reason
    except SettingsError as error:  # a list that is not JSON
        name, reason = str(error).split('"')[1], _LIST
    raise BadSetting(name=_where(name), reason=reason)


def is_set_by_variable(name: str) -> bool:
    """Return whether the environment has a variable for the setting that is not empty."""
    return any(value and variable.upper() == f"{PREFIX}{name.upper()}" for variable, value in os.environ.items())


def unknown_names() -> list[str]:
    """Return the variables with our prefix that are not settings: most likely mistyped, and without effect."""
    ours = [name for name in os.environ if name.upper().startswith(PREFIX)]
    known = {*Settings.model_fields, "config"}
    return sorted(name for name in ours if name.upper().removeprefix(PREFIX).lower() not in known)


def _where(name: str) -> str:
    """Return where a setting is set: its variable, or its line in the settings file."""
    file = settings_file()
    if file is None or is_set_by_variable(name):
        return f"{PREFIX}{name.upper()}"
    return f"{name} in {file}"
