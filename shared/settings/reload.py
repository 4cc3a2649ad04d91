"""Changes the settings of a process that runs to what the settings file says now.

Callers: a process that gets SIGHUP (shared/process/reload.py), and the children of its pool. Only settings that are
declared with `RELOAD` change; every reader of one sees the new value at its next use. The environment of a process
cannot change, so a setting with a variable keeps its value. A file that is wrong changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_fleet.shared.fields import describe
from whisper_fleet.shared.settings import Settings, read_settings


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """What a reload found; names of settings."""

    changed: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()  # differ from what the process runs with


def reload_settings(*in_use: Settings) -> Reloaded:
    """Change these objects to what the settings file says now; raises BadSetting or SetupError and changes nothing.

    The objects are copies of one process' settings; the first one is compared.
    """
    fresh = read_settings()
    differing = {name: value for name, value in vars(fresh).items() if value != getattr(in_use[0], name)}
    new = {name: value for name, value in differing.items() if name in reloadable_settings()}
    for settings in in_use:
        vars(settings).update(new)  # frozen to all others; in one step, so that no reader sees half of it
    return Reloaded(changed=tuple(sorted(new)), needs_restart=tuple(sorted(differing.keys() - new.keys())))


def reloadable_settings() -> frozenset[str]:
    """Return the names of the settings that a reload changes."""
    return frozenset(field.name for field in describe(Settings) if field.is_reloadable)
