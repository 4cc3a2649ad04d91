"""Segments are marked, or dropped, by what is heard in their time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.ledger_by_hand import request
from whisper_fleet.shared.errors import JobCancelled
from whisper_fleet.shared.evidence import speech
from whisper_fleet.shared.transcript import Segment
from whisper_fleet.workers.whisper.examination import examine

AUDIO = np.zeros(16_000 * 20, np.float32)


def segment(start: float, text: str, **numbers: Any) -> Segment:
    usual = {"temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.3, "no_speech_prob": 0.1}
    return Segment(id=0, seek=0, start=start, end=start + 5, text=text, tokens=(), **{**usual, **numbers})


SPEECH = segment(0.0, " Good morning to you all.")
INVENTED = segment(5.0, " you", no_speech_prob=0.7)
THANKS = segment(10.0, " Thank you.")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let somebody speak at all times but from 5 s to 10 s; the moments that are listened to."""
    moments: list[float] = []

    def share(audio: object, start: float, end: float) -> float:
        moments.append(start)
        return 0.0 if start == 5.0 else 0.75

    monkeypatch.setattr(speech, "share_of_speech", share)
    return moments


def examined(checkpoint: Any = lambda: None, **fields: Any) -> tuple[Segment, ...]:
    return examine([SPEECH, INVENTED, THANKS], AUDIO, request(**fields), checkpoint)


def test_only_segments_with_a_sign_are_listened_to_and_only_what_holds_is_reported(heard: list[float]) -> None:
    suspect = INVENTED.model_copy(update={"suspect": ("no_speech_prob", "known_phrase", "no_voice")})
    assert examined() == (SPEECH, suspect, THANKS)
    assert heard == [5.0, 10.0]


def test_without_evidence_nothing_is_examined(heard: list[float]) -> None:
    assert examined(evidence=False) == (SPEECH, INVENTED, THANKS)
    assert heard == []


def test_the_filter_drops_what_is_transcribed_where_nobody_speaks(heard: list[float]) -> None:
    assert examined(evidence=False, vad="filter") == (SPEECH, THANKS)
    assert heard == [0.0, 5.0, 10.0]


def test_a_job_can_be_cancelled_while_it_is_examined(heard: list[float]) -> None:
    def cancelled() -> None:
        raise JobCancelled(job="j")

    with pytest.raises(JobCancelled):
        examined(cancelled, vad="filter")


def test_a_node_without_the_detector_reports_the_signs_that_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "is_available", lambda: False)
    assert [one.suspect for one in examined()] == [None, ("no_speech_prob", "known_phrase"), ("known_phrase",)]


def test_a_segment_that_is_not_suspect_is_written_as_whisper_writes_it() -> None:
    assert "suspect" not in SPEECH.model_dump_json(exclude_none=True)
    assert '"suspect":["repetition"]' in SPEECH.model_copy(update={"suspect": ("repetition",)}).to_json()
