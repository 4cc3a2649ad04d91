"""The settings file, in TOML: a line such as `spool_dir = "/data/spool"` per setting, in any order, with any tables.

WHISPER_FLEET_CONFIG names it; left out, it is ~/.config/whisper-fleet/config.toml or /etc/whisper-fleet/config.toml,
if there is one.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from pydantic_settings.sources import PydanticBaseSettingsSource

from whisper_fleet.shared.errors import SetupError

VARIABLE = "WHISPER_FLEET_CONFIG"


def settings_file() -> Path | None:
    """Return the settings file of this process, None if there is none; SetupError if the one that is named is not."""
    if named := os.environ.get(VARIABLE):
        file = Path(named).expanduser()
        if not file.is_file():
            raise SetupError(what=f"the settings file {file}", fix=f"correct --config or {VARIABLE}")
        return file
    return next((file for file in usual_places() if file.is_file()), None)


def usual_places() -> tuple[Path, Path]:
    """Return where a settings file is looked for if none is named: the user's first, then the machine's."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    with contextlib.suppress(RuntimeError):  # a user without a home
        home = home.expanduser()
    return home / "whisper-fleet/config.toml", Path("/etc/whisper-fleet/config.toml")


def read_settings_file(file: Path) -> dict[str, Any]:
    """Return the values in a settings file by the setting's name; a table's values count like those outside it.

    Raises SetupError, which names the line, for a file that cannot be read or is not TOML.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(what=f"a settings file that can be read at {file}", fix=f"it is not TOML ({error})") from None
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


class SettingsFile(PydanticBaseSettingsSource):
    """The settings file as a source of pydantic's."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        file = settings_file()
        self._values = read_settings_file(file) if file is not None else {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return one value; pydantic asks for this method, though `__call__` returns all of them."""
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return all values."""
        return self._values
