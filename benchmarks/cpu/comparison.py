"""Measure what the engine is compared with on a CPU: stock whisper and faster-whisper."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from numpy.typing import NDArray

from whisper_fleet.shared.audio.decode import SAMPLE_RATE
from whisper_fleet.shared.models import Precision, checkpoint_path
from whisper_fleet.workers.node.engine_command import Device

Samples = NDArray[np.float32]

#: Seconds of the first row's speech after which a model is warm.
WARM_UP_SECONDS = 10
GREEDY: dict[str, Any] = {"temperature": 0.0, "language": "en"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: the model, the device, the speech and whom to compare with."""

    model: str
    model_dir: Path
    device: Device
    rows: int
    seconds: int  # of speech per row
    files: list[Path]
    ctranslate2: Path | None  # folder of the same model for faster-whisper
    with_stock: bool = True
    reproducible: bool = False

    @property
    def precision(self) -> Precision:
        return "float16" if self.device == "cuda" else "float32"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The seconds that one way to transcribe took for `speech` seconds of audio."""

    name: str
    seconds: float
    speech: float  # seconds
    texts: list[str]
    shares: dict[str, float] = field(default_factory=dict)

    @property
    def realtime(self) -> float:
        return self.speech / self.seconds


def stock(plan: Plan, audio: Samples) -> Figure:
    """Measure `whisper.transcribe()` on one row of speech."""
    checkpoint = str(checkpoint_path(plan.model, plan.model_dir))
    model = whisper.load_model(checkpoint, device=plan.device)
    options = {**GREEDY, "fp16": plan.precision == "float16"}
    model.transcribe(audio[: WARM_UP_SECONDS * SAMPLE_RATE], **options)
    return _timed("whisper.transcribe()", audio, lambda: str(model.transcribe(audio, **options)["text"]))


def faster_whisper(plan: Plan, folder: Path, audio: Samples) -> list[Figure]:
    """Measure faster-whisper sequentially and in batches of four windows, in the plan's precision and in int8."""
    package: Any = importlib.import_module("faster_whisper")
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    options = {**GREEDY, "beam_size": 1}
    figures = []
    for kind in (plan.precision, "int8"):
        threads = torch.get_num_threads()
        model = package.WhisperModel(str(folder), device=plan.device, cpu_threads=threads, compute_type=kind)
        batched = package.BatchedInferencePipeline(model)
        _text(model.transcribe(audio[: WARM_UP_SECONDS * SAMPLE_RATE], **options))
        ways: dict[str, Callable[[], str]] = {
            "sequential": partial(lambda one: _text(one.transcribe(audio, **options)), model),
            "batched-4": partial(lambda one: _text(one.transcribe(audio, batch_size=4, **options)), batched),
        }
        figures += [_timed(f"faster-whisper {kind} {name}", audio, way) for name, way in ways.items()]
    return figures


def _text(transcription: Any) -> str:
    """Return the text of faster-whisper's segments: the work happens only while they are read."""
    segments, _ = transcription
    return "".join(segment.text for segment in segments)


def _timed(name: str, audio: Samples, transcribe: Callable[[], str]) -> Figure:
    started = time.perf_counter()
    text = transcribe()
    seconds = time.perf_counter() - started
    return Figure(name=name, seconds=seconds, speech=len(audio) / SAMPLE_RATE, texts=[text])
