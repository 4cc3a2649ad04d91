"""A segment's transcription, against an engine that is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.model import ModelDimensions
from whisper.tokenizer import get_tokenizer

from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import EngineDied, EngineDown, JobCancelled
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import SegmentPlan, SegmentWork, TranscribeRequest
from whisper_fleet.workers.link.client import EngineSession
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.admission import Admission
from whisper_fleet.workers.node.transcription import Transcriber

SECONDS = 40.0


class FakeSession:
    """Hears the same two words in every window."""

    precision = "float32"
    dims = ModelDims(**vars(ModelDimensions(80, 1500, 64, 1, 1, 51865, 448, 64, 1, 1)))
    alignment_heads = None

    def __init__(self) -> None:
        self.windows: list[tuple[int, ...]] = []
        self.is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_closed = True

    def detect_language(self, mel: Tensor) -> tuple[Tensor, dict[str, float]]:
        return torch.empty(0), {"en": 0.25, "de": 0.75}

    def decode(self, mel: Tensor, options: DecodingOptions) -> DecodingResult:
        self.windows.append(tuple(mel.shape))
        tokenizer = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
        return DecodingResult(
            audio_features=torch.empty(0),
            language="en",
            tokens=tokenizer.encode(" Hello there."),
            text="Hello there.",
            avg_logprob=-0.1,
            no_speech_prob=0.0,
            temperature=0.0,
            compression_ratio=1.0,
        )


class FakeEngine:
    """Opens sessions, unless it is down."""

    def __init__(self, session: FakeSession, error: Exception | None = None) -> None:
        self._session, self._error = session, error

    def stats(self) -> EngineStats:
        raise EngineDied

    def session(self, model: str, precision: str) -> EngineSession:
        if self._error is not None:
            raise self._error
        return cast("EngineSession", self._session)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(var_dir=tmp_path, max_attempts=3)


@pytest.fixture
def work(settings: Settings) -> SegmentWork:
    samples = np.random.default_rng(0).integers(-3000, 3000, int(16000 * SECONDS), np.int16)
    spooled = Spool(settings).write("j", 0, samples.tobytes())
    return SegmentWork(
        request=TranscribeRequest(
            file_path="/nowhere.wav", model_name="base", language="en", options={"temperature": 0.0}
        ),
        plan=SegmentPlan(index=0, start=0.0, end=SECONDS, spool=spooled),
        attempt=1,
    )


def transcriber(settings: Settings, engine: FakeEngine) -> Transcriber:
    return Transcriber(gpu="h.0", settings=settings, engine=cast("Any", engine), admission=Admission())


def unasked(language: str, probability: float) -> str:
    raise AssertionError("the request names the language")


def in_no_language(work: SegmentWork, **fields: Any) -> SegmentWork:
    request = work.request.model_copy(update={"language": None, **fields.pop("request", {})})
    return work.model_copy(update={"request": request, **fields})


def test_the_first_segment_reports_the_language_and_goes_on_with_that_of_the_job(
    settings: Settings, work: SegmentWork
) -> None:
    found: list[tuple[str, float]] = []

    def stored(language: str, probability: float) -> str:
        found.append((language, probability))
        return "fr"  # an earlier attempt found it

    result = transcriber(settings, FakeEngine(FakeSession())).transcribe(in_no_language(work), lambda _: None, stored)
    assert found == [("de", 0.75)]
    assert result.language == "fr"


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({"language": "es"}, "es"),  # known from an earlier segment or attempt
        ({"plan": {"index": 1}}, "de"),  # planned by an intake of a version that holds no segments
        ({"request": {"language_detection": "segment"}}, "de"),
    ],
)
def test_no_other_segment_decides_the_language(
    settings: Settings, work: SegmentWork, fields: dict[str, Any], language: str
) -> None:
    if "plan" in fields:
        fields = {"plan": work.plan.model_copy(update=fields["plan"])}
    result = transcriber(settings, FakeEngine(FakeSession())).transcribe(
        in_no_language(work, **fields), lambda _: None, unasked
    )
    assert result.language == language


def test_a_segment_goes_window_after_window_through_the_session(settings: Settings, work: SegmentWork) -> None:
    session = FakeSession()
    done: list[float] = []
    result = transcriber(settings, FakeEngine(session)).transcribe(work, done.append, unasked)
    assert result.text.split() == ["Hello", "there."] * len(session.windows)
    assert (result.language, result.gpu) == ("en", "h.0")
    assert session.windows == [(80, 3000)] * 2
    assert session.is_closed
    assert done == [0.0, 0.0, 30.0]


def test_what_a_window_raises_ends_the_transcription_and_closes_the_session(
    settings: Settings, work: SegmentWork
) -> None:
    session = FakeSession()

    def cancelled(seconds_done: float) -> None:
        if seconds_done:
            raise JobCancelled(job="j")

    with pytest.raises(JobCancelled):
        transcriber(settings, FakeEngine(session)).transcribe(work, cancelled, unasked)
    assert session.is_closed


@pytest.mark.parametrize("cause", [ConnectionRefusedError(), FileNotFoundError()])
def test_an_engine_that_received_nothing_was_down(settings: Settings, work: SegmentWork, cause: OSError) -> None:
    died = EngineDied()
    died.__cause__ = cause
    with pytest.raises(EngineDown):
        transcriber(settings, FakeEngine(FakeSession(), died)).transcribe(work, lambda _: None, unasked)


def test_an_engine_that_ended_with_the_segment_died(settings: Settings, work: SegmentWork) -> None:
    with pytest.raises(EngineDied):
        transcriber(settings, FakeEngine(FakeSession(), EngineDied())).transcribe(work, lambda _: None, unasked)


def test_the_last_attempt_looks_first_whether_the_engine_is_still_up(settings: Settings, work: SegmentWork) -> None:
    last = work.model_copy(update={"attempt": 3})
    with pytest.raises(EngineDown):
        transcriber(settings, FakeEngine(FakeSession())).transcribe(last, lambda _: None, unasked)


def test_it_can_run_where_there_is_neither_celery_nor_redis() -> None:
    look = (
        "import sys, whisper_fleet.workers.node.transcription\n"
        "print([name for name in ('celery', 'kombu', 'redis') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "[]"


def test_the_audio_of_a_segment_is_deleted_when_its_result_is_stored(settings: Settings, work: SegmentWork) -> None:
    node = transcriber(settings, FakeEngine(FakeSession()))
    for _ in range(2):
        node.discard_audio(work)
        assert Spool(settings).used() == 0
