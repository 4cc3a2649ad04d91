"""Long files for tests of intake, and what an intake process does with them, driven by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from celery import Celery
from redis import Redis

from tests.conftest import SPEECH
from tests.support.ledger_by_hand import LedgerByHand
from tests.support.plan_audio import plan_audio
from whisper_fleet.scheduler.intake import cutting
from whisper_fleet.scheduler.intake.planning import Planner
from whisper_fleet.scheduler.services import Services, make_services
from whisper_fleet.shared import binaries, names
from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.broker.queues import queue_length
from whisper_fleet.shared.settings import Settings

CLIP = SPEECH / "sense_and_sensibility-0870.wav"


def make_fleet(redis_url: str, directory: Path, **settings: Any) -> Services:
    app = Celery("intake", broker=redis_url, backend=redis_url, set_as_current=False)
    own = {"redis_url": redis_url, "var_dir": directory, "segment_duration": 30.0, "decoders": 2, **settings}
    return make_services(app, Settings(**own))


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([binaries.ffmpeg(), "-y", "-v", "error", *arguments], check=True, stdin=subprocess.DEVNULL)


def make_long_file(directory: Path) -> Path:
    """Make 200 seconds of mp3."""
    file = directory / "long.mp3"
    ffmpeg("-stream_loop", "40", "-i", CLIP, "-t", "200", "-c:a", "libmp3lame", file)
    return file


def after_segments(monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], object]) -> None:
    """Have something happen once, when a decoding has cut this many segments."""
    cut, events = cutting.cut_into_segments, [happens]

    def cut_and_then(*arguments: Any) -> Iterator[cutting.Cut]:
        for count, segment in enumerate(cut(*arguments)):
            if count == number and events:
                events.pop()()
            yield segment

    monkeypatch.setattr(cutting, "cut_into_segments", cut_and_then)


def take_in(fleet: Services, file: Path, job: str = "j", **asked: Any) -> bool:
    return Planner(fleet).take_in(job, {"file_path": str(file), "language": "en", **asked})


def transcribe_messages(redis: Redis) -> int:
    return sum(queue_length(redis, queue) for queue in (names.TRANSCRIBE_QUEUE, names.RESUMED_QUEUE))


def check_plan(fleet: Services, ledger: LedgerByHand, file: Path, job: str = "j") -> None:
    """Check that the segments in the ledger are those that one decoding without any ledger cuts, sample by sample."""
    cut = ledger.plans(job)
    expected = plan_audio(str(file), "by hand", 30.0, fleet.settings)
    times = [(segment.index, segment.start, segment.end) for segment in cut]
    assert times == [(segment.index, segment.start, segment.end) for segment in expected.segments]
    assert ledger.job(job).duration == expected.duration
    pcm = np.frombuffer(b"".join(stream_pcm(file, fleet.settings)), np.int16).astype(np.float32) / 32768.0
    heard = [read_segment(str(file), segment, fleet.settings) for segment in cut]
    assert np.array_equal(np.concatenate(heard), pcm)
