"""An engine under load on a CPU is resized, loses clients, unloads, breaks, and stays reproducible."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from whisper.decoding import DecodingOptions

from tests.support import engine_checks
from tests.support.in_process_engine import TINY, InProcessEngine, decoded, mel_of, random_model
from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import EngineDied
from whisper_fleet.workers.node.engine_process import EngineProcess

pytestmark = pytest.mark.integration

GREEDY: dict[str, Any] = {"temperature": 0.0, "language": "en"}
FALLBACK: dict[str, Any] = {"temperature": (0.0, 0.4, 0.8), "best_of": 2, "logprob_threshold": -0.01}


def test_slots_come_and_go_under_running_rows(tiny_model: Path) -> None:
    with InProcessEngine(tiny_model, slots=8, reproducible=True) as engine:
        engine_checks.check_resizing(engine, tokens=80)


def test_a_row_is_dropped_with_its_client(tiny_model: Path) -> None:
    with InProcessEngine(tiny_model, slots=2, reproducible=True) as engine:
        engine_checks.check_dropping(engine)


def test_files_that_are_no_models_disturb_nobody(tiny_model: Path, tmp_path: Path) -> None:
    with InProcessEngine(tiny_model, slots=2) as engine:
        engine_checks.check_unusable_models(engine, tmp_path)


def test_an_idle_model_is_unloaded_and_comes_back(tiny_model: Path) -> None:
    other = random_model(tiny_model.parent / "other.pt", TINY, seed=1)
    with InProcessEngine(tiny_model, slots=2, idle_timeout=0.5) as engine:
        used, unused = engine.open(), engine.open(other)
        before = decoded(engine.decode(used, 0))
        engine.engine.forget(unused)
        wait_until(lambda: len(engine.stats().models) == 1)
        engine.engine.forget(used)
        wait_until(lambda: not engine.stats().models)
        assert engine.stats().memory_bytes["cache"] == 0
        assert decoded(engine.decode(engine.open(), 0)) == before


@pytest.mark.parametrize(("asked", "form"), [("auto", "cached"), ("absorbed", "absorbed")])
def test_the_form_that_it_tells_is_what_a_model_gets(tiny_model: Path, asked: str, form: str) -> None:
    with InProcessEngine(tiny_model, cross_attention=asked) as engine:
        assert engine_checks.check_form(engine) == form


def test_a_lost_device_ends_the_engine_and_another_starts(tiny_model: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.support.crashing_engine",
        str(tmp_path / "lost"),
        "serve",
        "--device",
        "cpu",
    ]
    command += ["--socket", str(tmp_path / "engine.sock"), "--model-dir", str(tiny_model.parent)]
    process = EngineProcess(command, {}, tmp_path / "engine.sock", lambda: None)
    process.start()
    try:
        assert process.wait_ready(60)
        options = DecodingOptions(language="en", sample_len=12, fp16=False)
        with process.client.session(str(tiny_model), "float32") as session, pytest.raises(EngineDied):
            session.decode(mel_of(0), options)
        wait_until(lambda: not process.ready)
        assert process.wait_ready(60)
        with process.client.session(str(tiny_model), "float32") as session:
            assert session.decode(mel_of(0), options).tokens
    finally:
        process.stop()


@pytest.fixture
def clips(speech: dict[Path, str]) -> list[engine_checks.Samples]:
    return [engine_checks.read(clip) for clip in speech]


@pytest.mark.parametrize("options", [GREEDY, {**FALLBACK, "language": "en"}], ids=["greedy", "fallback"])
def test_the_same_audio_gives_the_same_bytes_at_any_load(
    tiny_model: Path, tmp_path: Path, clips: list[engine_checks.Samples], options: dict[str, Any]
) -> None:
    with InProcessEngine(tiny_model, slots=6, reproducible=True) as engine:
        few = {**options, "sample_len": 24}
        engine_checks.check_reproducible(engine, tmp_path / "engine.sock", clips, few)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("options", [GREEDY, FALLBACK], ids=["greedy", "fallback"])
def test_real_transcripts_are_the_same_bytes_at_any_load(
    base_model: Path, tmp_path: Path, clips: list[engine_checks.Samples], options: dict[str, Any]
) -> None:
    with InProcessEngine(base_model, slots=6, reproducible=True) as engine:
        engine_checks.check_reproducible(engine, tmp_path / "engine.sock", clips, options)
