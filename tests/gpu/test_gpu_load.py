"""An engine under load on a GPU is resized, loses clients, runs out of memory, breaks, and stays reproducible."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from whisper.decoding import DecodingOptions

from tests.support import engine_checks
from tests.support.in_process_engine import BASE, InProcessEngine, decoded, mel_of, random_model, served
from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import EngineDied
from whisper_fleet.shared.memory import ELEMENT_BYTES, form_of
from whisper_fleet.shared.models import Precision
from whisper_fleet.workers.node.engine_process import EngineProcess
from whisper_fleet.workers.whisper import proxy

pytestmark = pytest.mark.gpu

MIB = 1 << 20
GREEDY: dict[str, Any] = {"temperature": 0.0, "language": "en", "sample_len": 40}
SPEECH: dict[str, Any] = {"temperature": 0.0, "language": "en"}
FALLBACK: dict[str, Any] = {**GREEDY, "temperature": (0.0, 0.4, 0.8), "best_of": 2, "logprob_threshold": -0.01}


def engine_of(model: Path, slots: int, precision: Precision = "float16", **options: Any) -> InProcessEngine:
    return InProcessEngine(model, device="cuda", precision=precision, slots=slots, **options)


def used() -> int:
    """Return the bytes of GPU memory that all processes use, as the driver counts them."""
    free, total = torch.cuda.mem_get_info()
    return total - free


def test_slots_come_and_go_under_running_rows(base_size: Path) -> None:
    with engine_of(base_size, 8, reproducible=True) as engine:
        engine_checks.check_resizing(engine, tokens=220)


def test_a_row_is_dropped_with_its_client(base_size: Path) -> None:
    with engine_of(base_size, 2, reproducible=True) as engine:
        engine_checks.check_dropping(engine)


def test_files_that_are_no_models_disturb_nobody(base_size: Path, tmp_path: Path) -> None:
    with engine_of(base_size, 2) as engine:
        engine_checks.check_unusable_models(engine, tmp_path)


def test_an_idle_model_gives_its_memory_back(base_size: Path) -> None:
    """An empty engine is measured after its first model has come and gone: libraries and kernels stay."""
    with engine_of(base_size, 8, idle_timeout=0.5) as engine:
        engine.decode_all(range(8))
        wait_until(lambda: not engine.stats().models)
        empty = used()
        session = engine.open()
        assert used() - empty > 128 * MIB
        engine.engine.forget(session)
        engine.decode_all(range(8))
        wait_until(lambda: not engine.stats().models)
        left = used() - empty
    assert left <= 64 * MIB, f"{left / MIB:.0f} MiB are left"


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_the_form_that_it_tells_is_what_a_model_gets(base_size: Path, precision: Precision) -> None:
    with engine_of(base_size, 1, precision=precision) as engine:
        form = form_of("auto", ELEMENT_BYTES[precision], torch.cuda.get_device_capability())
        assert engine_checks.check_form(engine) == form


@pytest.mark.usefixtures("no_triton")
def test_without_triton_it_tells_that_it_caches(base_size: Path) -> None:
    with engine_of(base_size, 1) as engine:
        assert engine_checks.check_form(engine) == "cached"


@pytest.fixture
def other(base_size: Path) -> Path:
    return random_model(base_size.parent / "other.pt", BASE, seed=1, std=0.03)


def test_an_unused_model_makes_room_for_another(base_size: Path, other: Path) -> None:
    with engine_of(base_size, 96) as engine:
        engine.engine.forget(engine.open(other))
        free, _ = torch.cuda.mem_get_info()
        hog = torch.empty(free - 400 * MIB, dtype=torch.uint8, device="cuda")
        session = engine.open()
        assert engine.stats().models == (f"{base_size}/float16",)
        assert decoded(engine.decode(session, 0)).tokens
        del hog
    torch.cuda.empty_cache()


@pytest.fixture
def unlimited() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.usefixtures("no_triton", "unlimited")
def test_windows_wait_where_memory_runs_out(base_size: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half of what eight windows take at most is allowed; float32, so that no batch size rounds a token away."""
    with engine_of(base_size, 8, precision="float32") as engine:
        session = engine.open()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_reserved()
        undisturbed = [one.tokens for one in engine.decode_all(range(8))]
        peak = torch.cuda.max_memory_reserved()
        torch.cuda.empty_cache()
        allowed = before + (peak - before) // 2
        torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.mem_get_info()[1])
        with caplog.at_level(logging.WARNING, logger="whisper_fleet.workers.engine.capacity"):
            assert [one.tokens for one in engine.decode_all(range(8))] == undisturbed
        engine.engine.forget(session)
    assert "out of memory in a step" in caplog.text


def test_a_lost_context_ends_the_engine_and_another_starts(base_size: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.support.crashing_engine",
        str(tmp_path / "lost"),
        "serve",
        "--device",
        "cuda",
    ]
    command += ["--socket", str(tmp_path / "engine.sock"), "--model-dir", str(base_size.parent)]
    process = EngineProcess(command, {}, tmp_path / "engine.sock", lambda: None)
    process.start()
    try:
        assert process.wait_ready(60)
        with process.client.session(str(base_size), "float16") as session, pytest.raises(EngineDied):
            session.decode(mel_of(0), DecodingOptions(language="en"))
        wait_until(lambda: not process.ready)
        assert process.wait_ready(60)
        with process.client.session(str(base_size), "float16") as session:
            assert session.decode(mel_of(0), DecodingOptions(language="en")).tokens
    finally:
        process.stop()


@pytest.fixture
def clips(speech: dict[Path, str]) -> list[engine_checks.Samples]:
    return [engine_checks.read(clip) for clip in speech]


@pytest.mark.parametrize("options", [GREEDY, FALLBACK], ids=["greedy", "fallback"])
def test_the_same_audio_gives_the_same_bytes_at_any_load(
    base_size: Path, tmp_path: Path, clips: list[engine_checks.Samples], options: dict[str, Any]
) -> None:
    with engine_of(base_size, 16, reproducible=True) as engine:
        engine_checks.check_reproducible(engine, tmp_path / "engine.sock", clips, options)


@pytest.mark.usefixtures("no_triton")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_plain_transcripts_of_speech_are_sane(
    base_model: Path, tmp_path: Path, speech: dict[Path, str], precision: Precision
) -> None:
    with (
        engine_of(base_model, 4, precision=precision) as engine,
        served(engine.engine, tmp_path / "engine.sock") as client,
        client.session(str(base_model), precision) as session,
    ):
        for clip, text in speech.items():
            heard = proxy.transcribe(session, engine_checks.read(clip), lambda _: None, **SPEECH)
            assert shared_words(heard["text"], text) > 0.8, heard["text"]


def shared_words(heard: str, spoken: str) -> float:
    """Return the share of the spoken words that were transcribed."""
    words = [{word.strip(".,;:!?\"'").lower() for word in text.replace("-", " ").split()} for text in (heard, spoken)]
    return len(words[0] & words[1]) / len(words[1])
