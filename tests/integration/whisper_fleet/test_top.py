"""`top` on a pseudo-terminal and in a pipe, on a real ledger."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from tests.support.fleet_command import COMMAND, as_in_a_terminal
from tests.support.gpu_status import gpu_status
from tests.support.ledger_by_hand import LedgerByHand, request
from tests.support.waiting import wait_until
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.wire import JobState

pytestmark = pytest.mark.integration


class Terminal:
    """A terminal of 60 columns and 24 lines in which a command runs."""

    def __init__(self, redis_url: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        environment = {**os.environ, "WHISPER_FLEET_REDIS_URL": redis_url, "TERM": "xterm"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [COMMAND, "top", "--interval", "0.2"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            preexec_fn=as_in_a_terminal,
        )
        self.written = ""

    def shows(self, text: str) -> bool:
        """Return whether a text was written since it was last looked for."""
        while select.select([self.master], [], [], 0.05)[0]:
            self.written += os.read(self.master, 65536).decode("utf-8", "replace")
        found = text in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written)
        if found:
            self.written = ""
        return found

    def awaits(self, text: str) -> None:
        wait_until(lambda: self.shows(text), 30.0)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def mode(self) -> list[object]:
        return termios.tcgetattr(self._slave)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@contextmanager
def terminal(redis_url: str) -> Iterator[Terminal]:
    opened = Terminal(redis_url)
    try:
        yield opened
    finally:
        opened.end()


def fleet_with_a_running_job(redis: Redis) -> LedgerByHand:
    ledger = LedgerByHand(redis)
    GpuRegistry(redis).beat(gpu_status(slots=4, busy=1, heartbeat=time.time() + 1e6))
    ledger.planned("runs", 2, now=time.time(), file_path="/data/talk.mp3")
    ledger.running("runs", now=time.time())
    redis.hset(keys.text_so_far("runs"), "0", "the words so far")
    ledger.accept("broken", request(file_path="/data/bad.mp3"), time.time())
    ledger.fail("broken", "CorruptAudio", "nothing could be decoded", time.time())
    ledger.settle("broken", time.time())
    return ledger


def test_a_job_is_watched_and_cancelled_from_the_keyboard(redis: Redis, redis_url: str) -> None:
    ledger = fleet_with_a_running_job(redis)
    with terminal(redis_url) as screen:
        screen.awaits("the words so far")
        screen.awaits("bad.mp3")
        screen.press("/nothing\r")
        screen.awaits("running: 0 of 1")
        screen.press("\x1b")
        screen.awaits("running: 1,")
        screen.press("j")
        screen.press("c")
        screen.awaits("talk.mp3 - cancel this job?")
        screen.press("y")
        wait_until(lambda: ledger.job("runs").state is JobState.CANCELLED, 30.0)
        screen.awaits("running: 0,")
        screen.press("q")
        assert screen.process.wait(30.0) == 0
        assert screen.mode() == screen.before


def test_ctrl_c_restores_the_terminal(redis: Redis, redis_url: str) -> None:
    fleet_with_a_running_job(redis)
    with terminal(redis_url) as screen:
        screen.awaits("talk.mp3")
        screen.process.send_signal(2)
        assert screen.process.wait(30.0) == 130
        assert screen.mode() == screen.before
    assert LedgerByHand(redis).job("runs").state is JobState.RUNNING


def test_in_a_pipe_it_prints_once_without_codes(redis: Redis, redis_url: str) -> None:
    fleet_with_a_running_job(redis)
    environment = {**os.environ, "WHISPER_FLEET_REDIS_URL": redis_url}
    done = subprocess.run([COMMAND, "top"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "\x1b" not in done.stdout
    for part in ("1 of 1 GPU up", "talk.mp3", "the words so far", "bad.mp3", "CorruptAudio"):
        assert part in done.stdout
