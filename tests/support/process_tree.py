"""Look at processes that may end at any moment."""

from __future__ import annotations

import psutil


def descendants(pid: int) -> list[psutil.Process]:
    """Return the descendants of a process; an ended process has none."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_named(process: psutil.Process, name: str) -> bool:
    try:
        return process.name() == name
    except psutil.NoSuchProcess:
        return False


def has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, even if its exit status was not collected yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
