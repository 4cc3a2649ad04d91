"""The terminal of `top`: a second screen, refreshed by time and by keys, and restored however it ends."""

from __future__ import annotations

import codecs
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live

from whisper_fleet.cli.top.rendering import render
from whisper_fleet.cli.top.snapshot import TopSnapshot
from whisper_fleet.cli.top.view import Key, View, press

#: What terminals send for keys that are no letters.
_SEQUENCES = {
    "\x1b[A": Key.UP,
    "\x1b[B": Key.DOWN,
    "\x1bOA": Key.UP,
    "\x1bOB": Key.DOWN,
    "\x1b": Key.ESCAPE,
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x7f": Key.BACKSPACE,
    "\b": Key.BACKSPACE,
}


def show(read: Callable[[], TopSnapshot], cancel: Callable[[str], object], console: Console, interval: float) -> None:
    """Show snapshots until `q` or Ctrl-C; a resized terminal is drawn anew at the next refresh."""
    view, snapshot, due = View(), read(), time.monotonic() + interval
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            width, height = console.size
            live.update(Group(*render(snapshot, view, width, height)), refresh=True)
            for key in keys(max(due - time.monotonic(), 0.0)):
                view, action = press(view, key, snapshot.jobs)
                if action.quits:
                    return
                if action.cancels is not None:
                    cancel(action.cancels)
                    due = 0.0
            if time.monotonic() >= due:
                snapshot, due = read(), time.monotonic() + interval


@contextmanager
def _keys() -> Iterator[Callable[[float], list[str]]]:
    """Provide a function that waits for keys so many seconds at most; the terminal's mode is restored after it."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def wait(seconds: float) -> list[str]:
        if not select.select([descriptor], [], [], seconds)[0]:
            return []
        data = os.read(descriptor, 1024)
        if not data:  # the terminal is gone
            raise KeyboardInterrupt
        return parsed_keys(decoder.decode(data))

    try:
        tty.setcbreak(descriptor)
        yield wait
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def parsed_keys(data: str) -> list[str]:
    """Return the keys in what a terminal sent at once: letters, and the names of other keys."""
    keys = list[str]()
    while data:
        sequence = next((one for one in _SEQUENCES if data.startswith(one)), data[0])
        keys.append(_SEQUENCES.get(sequence, sequence))
        data = data[len(sequence) :]
    return keys
