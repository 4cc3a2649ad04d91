"""Requests, plans and results for tests of the ledger, and a ledger driven by hand."""

from __future__ import annotations

import itertools
from typing import Any

from redis import Redis

from whisper_fleet.shared.ledger.ledger import Ledger
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import Assignment, JobPlan, SegmentMessage, SegmentPlan, SegmentResult, TranscribeRequest

GPU = "host.0"


def request(**fields: Any) -> TranscribeRequest:
    return TranscribeRequest(**{"file_path": "/audio.wav", "model_name": "base", **fields})


def plan(segments: int, seconds: float = 300.0) -> JobPlan:
    cuts = [SegmentPlan(index=i, start=i * seconds, end=(i + 1) * seconds) for i in range(segments)]
    return JobPlan(duration=segments * seconds, segments=tuple(cuts))


def result(text: str = "Hello.", gpu: str = GPU) -> SegmentResult:
    return SegmentResult(text=text, language="en", segments=(), gpu=gpu, decode_seconds=0.1, transcribe_seconds=0.2)


class LedgerByHand(Ledger):
    """The real ledger, with shortcuts that take several steps at once."""

    def __init__(self, redis: Redis, *, max_attempts: int = 3) -> None:
        super().__init__(redis, Settings(max_attempts=max_attempts, job_retention=86400.0))
        self.redis = redis
        self._tokens = itertools.count()

    def planned(self, job: str, segments: int = 1, *, now: float = 1.0, seconds: float = 300.0, **fields: Any) -> str:
        """Enter and plan a job whose segments wait, and return its id."""
        assert self.accept(job, request(**fields), now)
        assert self.plan(job, plan(segments, seconds), now)
        return job

    def assigned(
        self, job: str, segment: int = 0, gpu: str = GPU, *, now: float = 2.0, slots: int = 64
    ) -> SegmentMessage:
        """Assign a segment to a GPU, to be started within 30 s."""
        one = Assignment(job=job, segment=segment, gpu=gpu, token=f"token-{next(self._tokens)}", slots=slots)
        assert self.assign([one], now + 30, now) == [True]
        return SegmentMessage(job=job, segment=segment, token=one.token)

    def running(self, job: str, segment: int = 0, gpu: str = GPU, *, now: float = 3.0) -> SegmentMessage:
        """Assign and start a segment, with a lease of 120 s."""
        message = self.assigned(job, segment, gpu, now=now)
        self.start(message, gpu, 120.0, now)
        return message

    def segment_is_waiting(self, job: str, segment: int = 0) -> bool:
        return any(one.job == job and segment in one.segments for lane in self.lanes(1000) for one in lane.jobs)
