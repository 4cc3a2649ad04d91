"""When memory runs out, the engine uses less and queues windows; the transcripts do not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.in_process_engine import TINY, InProcessEngine, decoded, random_model
from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.workers.engine.batch.policy import CPU_POLICY
from whisper_fleet.workers.engine.cache import virtual_memory
from whisper_fleet.workers.engine.runner import Runner

pytestmark = pytest.mark.integration

SEEDS = range(6)


@pytest.fixture
def undisturbed(tiny_model: Path) -> list[list[int]]:
    with InProcessEngine(tiny_model, slots=8) as engine:
        return [one.tokens for one in engine.decode_all(SEEDS)]


def failing(work: Callable[..., Any], when: Callable[..., bool]) -> tuple[Callable[..., Any], list[int]]:
    """Return the work, but with memory running out before or, every other time, after it; and a list of these times."""
    times: list[int] = []

    def work_or_fail(*arguments: Any) -> Any:
        if not when(*arguments):
            return work(*arguments)
        times.append(1)
        if len(times) % 2:
            work(*arguments)
        raise torch.OutOfMemoryError("CUDA out of memory")

    return work_or_fail, times


def test_rows_beyond_memory_wait_and_run_again(
    tiny_model: Path, undisturbed: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, times = failing(Runner.decode, lambda runner: len(runner._decoding) > 2)
    monkeypatch.setattr(Runner, "decode", decode)
    with InProcessEngine(tiny_model, slots=8) as engine:
        assert [one.tokens for one in engine.decode_all(SEEDS)] == undisturbed
    assert times


@pytest.mark.parametrize("step", ["encode", "start"])
def test_encodings_and_prompts_run_narrower(
    step: str, tiny_model: Path, undisturbed: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = replace(CPU_POLICY, encode_width=4, encode_patience=6)
    method, times = failing(getattr(Runner, step), lambda _, windows: len(windows) > 1)
    monkeypatch.setattr(Runner, step, method)
    with InProcessEngine(tiny_model, slots=8, policy=policy) as engine:
        assert [one.tokens for one in engine.decode_all(SEEDS)] == undisturbed
    assert times


def test_a_window_that_lacks_memory_beside_others_runs_alone(
    tiny_model: Path, undisturbed: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, times = failing(Runner.start, lambda runner, _: bool(runner._decoding))
    monkeypatch.setattr(Runner, "start", method)
    with InProcessEngine(tiny_model, slots=8) as engine:
        assert [one.tokens for one in engine.decode_all(SEEDS)] == undisturbed
    assert times


def test_a_window_too_large_even_alone_fails_alone(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, _ = failing(Runner.start, lambda _, windows: any(window.plan.rows == 3 for window in windows))
    monkeypatch.setattr(Runner, "start", start)
    with InProcessEngine(tiny_model, slots=4) as engine:
        sessions = [engine.open() for _ in range(3)]
        wide = engine.decode(sessions[0], 0, beam_size=3)
        others = [engine.decode(session, session) for session in sessions[1:]]
        with pytest.raises(EngineOutOfMemory, match="even alone"):
            wide.result(60)
        assert all(decoded(other).tokens for other in others)
        assert decoded(engine.decode(sessions[0], 0)).tokens


def test_an_unused_model_makes_room(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = random_model(tiny_model.parent / "other.pt", TINY, seed=1)
    with InProcessEngine(tiny_model, slots=2) as engine:
        engine.engine.forget(engine.open(other))
        session = engine.open()
        assert len(engine.stats().models) == 2
        decode, times = failing(Runner.decode, lambda _: not times)
        monkeypatch.setattr(Runner, "decode", decode)
        assert decoded(engine.decode(session, 0)).tokens
        assert engine.stats().models == (f"{tiny_model}/float32",)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit memory to 40 MB per region, which holds 17 slots of the tiny model or many more rows."""
    commit = virtual_memory.HostMemory.commit

    def commit_little(self: virtual_memory.HostMemory, size: int) -> None:
        if size > 40_000_000:
            raise EngineOutOfMemory(what="more slots")
        commit(self, size)

    monkeypatch.setattr(virtual_memory.HostMemory, "commit", commit_little)


@pytest.mark.usefixtures("little_memory")
def test_slots_grow_as_far_as_memory_goes(tiny_model: Path, undisturbed: list[list[int]]) -> None:
    with InProcessEngine(tiny_model, slots=2) as engine:
        session = engine.open()
        engine.resize(64)
        assert 0 < engine.stats().memory_bytes["cache"] < 80_000_000
        assert [one.tokens for one in engine.decode_all(SEEDS)] == undisturbed
        assert decoded(engine.decode(session, 0)).tokens == undisturbed[0]


def test_beams_that_find_no_memory_fail_alone(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with InProcessEngine(tiny_model, slots=2) as engine:
        session, other = engine.open(), engine.open()
        running = engine.decode(other, 1, sample_len=200)
        commit = virtual_memory.HostMemory.commit

        def commit_no_more(self: virtual_memory.HostMemory, size: int) -> None:
            if size > self.committed:
                raise EngineOutOfMemory(what="more slots")
            commit(self, size)

        monkeypatch.setattr(virtual_memory.HostMemory, "commit", commit_no_more)
        with pytest.raises(EngineOutOfMemory):
            engine.decode(session, 0, beam_size=5).result(60)
        assert decoded(engine.decode(session, 0)).tokens
        assert decoded(running).tokens
