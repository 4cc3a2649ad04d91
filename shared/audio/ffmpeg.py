"""Runs ffmpeg on one file in a hardened process: limited, offline, killable."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from whisper_fleet.shared import binaries
from whisper_fleet.shared.audio.containers import WHITELIST
from whisper_fleet.shared.files.opening import path_of
from whisper_fleet.shared.settings import Settings

#: Seconds of processor time; enough for about 1,500 hours of mp3.
CPU_SECONDS = 3600
_STALL_SECONDS = 60.0  # without output; longer means that ffmpeg hangs
_MEMORY_KIB = 4 * 2**20  # of address space; ffmpeg's threads reserve far more than they use
_CHUNK_BYTES = 256 * 1024
_BACKGROUND = 10  # niceness: a tenth of the processor time of what competes with it, which is not starved
#: Of the log, this much of its beginning and of its end is kept: the file's streams, and the last report.
_LOG_HEAD_BYTES = 256 * 1024
_LOG_TAIL_BYTES = 16 * 1024
# The shell sets the limits: they hold from ffmpeg's first instruction, and preexec_fn could deadlock with threads.
_LIMITED = f'ulimit -t {CPU_SECONDS}; ulimit -v {_MEMORY_KIB}; ulimit -f 0; ulimit -c 0; exec "$@"'


class NoOutput(Exception):
    """ffmpeg stalled, or took too long; the message is the reason for a person."""


class Ffmpeg:
    """One run of ffmpeg. Its output is read with `chunks`; the exit code and the log are complete after that."""

    def __init__(self, child: subprocess.Popen[bytes], most_seconds: float) -> None:
        self._child = child
        self._log = _Log(child)
        self._most_seconds = most_seconds
        self._deadline = time.monotonic() + most_seconds

    def chunks(self) -> Iterator[bytes]:
        """Yield what ffmpeg writes until it closes its output; raises NoOutput if it stalls or takes too long."""
        output = _pipe(self._child.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if (left := self._deadline - time.monotonic()) <= 0:
                    raise NoOutput(f"decoding it took more than {self._most_seconds:g} s")
                if not selector.select(min(_STALL_SECONDS, left)) and left > _STALL_SECONDS:
                    raise NoOutput(f"ffmpeg made no progress for {_STALL_SECONDS:.0f} s")
                if time.monotonic() > self._deadline:
                    continue
                chunk = os.read(output.fileno(), _CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def lower_priority(self) -> None:
        """Let nodes and engines go first; the kernel derives the priority of disk access from the niceness, too."""
        with contextlib.suppress(OSError):  # it has ended
            os.setpriority(os.PRIO_PGRP, self._child.pid, _BACKGROUND)  # of the group: it reaches all threads

    def code(self) -> int:
        """Return the exit code once ffmpeg has ended; negative: the signal that ended it."""
        return self._child.wait()

    def log(self) -> str:
        """Return the beginning and the end of its log once ffmpeg has ended."""
        return self._log.text()

    def end(self) -> None:
        """End ffmpeg and its children, whether it has finished or its reader has stopped."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        _pipe(self._child.stdout).close()
        self._log.close()


@contextlib.contextmanager
def running(
    path: Path, output: Sequence[str], settings: Settings, most_seconds: float | None = None
) -> Iterator[Ffmpeg]:
    """Run ffmpeg on a file with these options for its output; raises SetupError or OSError.

    It may take `most_seconds`; None: the settings' decode_timeout.
    """
    ffmpeg = binaries.ffmpeg(settings.ffmpeg)
    with _opened(path) as descriptor, path_of(descriptor, path.suffix) as link:
        run = Ffmpeg(start(command(link, ffmpeg, output), descriptor), most_seconds or settings.decode_timeout)
        try:
            yield run
        finally:
            run.end()


def command(path: Path, ffmpeg: Path, output: Sequence[str]) -> list[str]:
    """Return a command that restricts ffmpeg to this one file."""
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-v", "level+info"]
    closed = ["-protocol_whitelist", "file", "-format_whitelist", WHITELIST]
    source = ["-threads", "1", "-i", f"file:{path.absolute()}"]
    return ["/bin/sh", "-c", _LIMITED, "decode", str(ffmpeg), *quiet, *closed, *source, *output]


def start(arguments: list[str], descriptor: int) -> subprocess.Popen[bytes]:
    """Start ffmpeg in its own process group, with an empty environment: it must not see the fleet's passwords."""
    return subprocess.Popen(
        arguments,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.defpath, "MALLOC_ARENA_MAX": "2"},
        start_new_session=True,
        pass_fds=(descriptor,),
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open the file here, for ffmpeg to inherit: a path may lead elsewhere by the time at which ffmpeg opens it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child was started without pipes")
    return stream


class _Log:
    """Reads the child's stderr, so that it never blocks, and keeps its beginning and its end."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._stream = _pipe(child.stderr)
        self._head, self._tail = bytearray(), bytearray()
        self._thread = threading.Thread(target=self._drain, name="ffmpeg-stderr", daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join()
        # What is left out ends in the middle of a line.
        cut = b"\n" if len(self._tail) == _LOG_TAIL_BYTES else b""
        return bytes(self._head + cut + self._tail).decode(errors="replace")

    def close(self) -> None:
        self._thread.join()
        self._stream.close()

    def _drain(self) -> None:
        while piece := self._stream.read(_LOG_TAIL_BYTES):
            room = _LOG_HEAD_BYTES - len(self._head)
            self._head += piece[:room]
            self._tail = (self._tail + piece[max(0, room) :])[-_LOG_TAIL_BYTES:]
