"""The Celery app that one would write without the fleet: a model per process of the prefork pool."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from celery import Celery
from celery.signals import worker_process_init

from whisper_fleet.shared.audio.decode import stream_pcm
from whisper_fleet.shared.settings import Settings

app = Celery(broker=os.environ["BENCHMARK_REDIS"], backend=os.environ["BENCHMARK_REDIS"])
app.conf.worker_prefetch_multiplier = 1
app.conf.task_acks_late = True

_DEVICE = os.environ["BENCHMARK_DEVICE"]
_loaded: dict[str, Any] = {}


@worker_process_init.connect
def _load(**_: object) -> None:
    torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
    _loaded["model"] = whisper.load_model(os.environ["BENCHMARK_MODEL"], device=_DEVICE)


@app.task(name="load")
def load() -> int:
    """Return the process, whose model is loaded by now."""
    return os.getpid()


@app.task(name="transcribe")
def transcribe(file: str, folder: str) -> None:
    """Transcribe a file with the process' own model, and write its text."""
    pcm = b"".join(stream_pcm(Path(file), Settings()))
    audio = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    prompts = os.environ["BENCHMARK_PROMPTS"] == "1"
    result = _loaded["model"].transcribe(
        audio,
        language="en",
        fp16=_DEVICE == "cuda",
        condition_on_previous_text=prompts,
    )
    (Path(folder) / f"{Path(file).stem}.txt").write_text(result["text"])
