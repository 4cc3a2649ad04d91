"""Transcribes one segment through the engine. It needs neither Celery nor Redis, so it can run in a child process."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from whisper_fleet.shared.audio.decode import SAMPLE_RATE
from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.audio.selection import AudioSelection
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.errors import EngineDied, EngineDown
from whisper_fleet.shared.models import Precision
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.transcript import segments_from_whisper
from whisper_fleet.shared.wire import SegmentResult, SegmentWork, TranscribeRequest
from whisper_fleet.workers.link.client import EngineSession
from whisper_fleet.workers.link.protocol import EngineStats
from whisper_fleet.workers.node.admission import runs_alone
from whisper_fleet.workers.whisper import proxy
from whisper_fleet.workers.whisper.examination import examine
from whisper_fleet.workers.whisper.proxy import OnLanguage, OnText, OnWindow


class EngineAdmission(Protocol):
    """Decides when a segment may use the engine; see Admission."""

    def entered(self, *, alone: bool, while_waiting: Callable[[], None]) -> AbstractContextManager[None]: ...


class Engine(Protocol):
    """The calls of an engine that a transcription makes; see EngineClient."""

    def stats(self) -> EngineStats: ...

    def session(self, model: str, precision: Precision) -> EngineSession: ...


@dataclass(frozen=True, kw_only=True)
class Transcriber:
    """Transcribes segments on one GPU; thread-safe, one call per slot."""

    gpu: str  # id of the GPU
    settings: Settings
    engine: Engine
    admission: EngineAdmission  # to the engine, shared by all that use it

    def transcribe(
        self, work: SegmentWork, on_window: OnWindow, on_language: OnLanguage, on_text: OnText | None = None
    ) -> SegmentResult:
        """Return what `whisper.transcribe()` gives for a segment, with the engine as its model.

        `on_window` is called before every window, and every two seconds while the segment waits for admission, with
        the seconds of audio that are done. `on_language` is called with the language of the job and its probability if
        this segment decides it, and returns the language to use. `on_text` is called after every window with the text
        so far. What they raise ends the transcription and passes through, as do a RequestError for a file that cannot
        be read and an EngineError. EngineDown is raised if the engine ended before it received anything of this
        segment.
        """
        request = work.request
        began = time.monotonic()
        audio = read_segment(request.file_path, work.plan, self.settings, AudioSelection.of(request))
        decoded = time.monotonic()
        on_window(0.0)
        alone = runs_alone(work.attempt, self.settings.max_attempts)
        with self._admitted(alone, on_window), self._open_session(request, alone) as session:
            transcript = proxy.transcribe(
                session,
                audio,
                on_window,
                on_language if work.finds_language else None,
                on_text,
                **request.options,
                language=request.language or work.language,
                task=request.task,
                word_timestamps=request.word_timestamps,
            )
        heard = segments_from_whisper(transcript["segments"])
        segments = examine(heard, audio, request, lambda: on_window(len(audio) / SAMPLE_RATE))
        return SegmentResult(
            text=transcript["text"] if len(segments) == len(heard) else "".join(kept.text for kept in segments),
            language=transcript["language"],
            segments=segments,
            gpu=self.gpu,
            decode_seconds=decoded - began,
            transcribe_seconds=time.monotonic() - decoded,
        )

    def discard_audio(self, work: SegmentWork) -> None:
        """Delete the spooled audio of a segment whose result is stored, to make room for what waits."""
        if work.plan.spool:
            Spool(self.settings).remove(work.plan.spool)

    def _admitted(self, alone: bool, on_window: OnWindow) -> AbstractContextManager[None]:
        return self.admission.entered(alone=alone, while_waiting=lambda: on_window(0.0))

    def _open_session(self, request: TranscribeRequest, alone: bool) -> EngineSession:
        try:
            if alone:
                self.engine.stats()  # the segment before this one may have ended the engine a moment ago
        except EngineDied as died:
            raise EngineDown from died
        try:
            return self.engine.session(request.model_name, request.precision)
        except EngineDied as died:
            if isinstance(died.__cause__, (ConnectionRefusedError, FileNotFoundError)):
                raise EngineDown from died
            raise
