"""Which Redis this process uses: the configured one, or the embedded Redis of the fleet that runs on this machine.

A fleet without a configured Redis starts its own and writes the address, with its password, into its state directory.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from whisper_fleet.shared.settings import Settings, load_settings


def is_embedded(settings: Settings) -> bool:
    """Return whether no Redis is configured, so that a fleet started with these settings brings its own."""
    return "redis_url" not in settings.model_fields_set


def address_file(settings: Settings) -> Path:
    """Return the file that holds the URL of the embedded Redis while a fleet is up."""
    return _address_below(settings.var_dir.absolute())


def note_file(settings: Settings) -> Path:
    """Return the file that names the state directory of the fleet that this user started last, while it is up."""
    return settings.state_home / "whisper-fleet" / "var_dir"


def with_embedded_redis(settings: Settings) -> Settings:
    """Return the settings with the embedded Redis, if none is configured and a fleet is up.

    A fleet in `var_dir` comes first, and then the one that this user started last in any folder.
    """
    if is_embedded(settings):
        for find in (address_file, _noted_address_file):
            with contextlib.suppress(OSError):
                return settings.model_copy(update={"redis_url": find(settings).read_text()})
    return settings


def local_settings() -> Settings:
    """Return this process's settings for a client of the fleet that runs on this machine."""
    return with_embedded_redis(load_settings())


def local_var_dir(settings: Settings) -> Path:
    """Return the state directory of the fleet that runs on this machine, as `with_embedded_redis` finds it."""
    if not address_file(settings).exists() and is_embedded(settings):
        with contextlib.suppress(OSError):
            return Path(note_file(settings).read_text())
    return settings.var_dir.absolute()


def _noted_address_file(settings: Settings) -> Path:
    return _address_below(Path(note_file(settings).read_text()))


def _address_below(var: Path) -> Path:
    return var / "run" / "redis.url"
