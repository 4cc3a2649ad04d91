"""The faults, by family; loading a family adds its rows to the table."""

from __future__ import annotations

from importlib import import_module

_FAMILIES = ("processes", "store", "disks", "cuts", "clocks", "pools", "versions", "messages", "upkeep")


def load() -> None:
    """Add every row to the table, in the order of the families."""
    for family in _FAMILIES:
        import_module(f"{__name__}.{family}")
