"""A fault of one window fails that window alone: others, and later ones, are not affected."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.in_process_engine import END_OF_TEXT, TINY, InProcessEngine, decoded, mel_of, random_model
from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import EngineRequestInvalid
from whisper_fleet.workers.engine import runner
from whisper_fleet.workers.engine.batch.policy import CPU_POLICY
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.link.protocol import Align, Decode, DetectLanguage, Open

pytestmark = pytest.mark.integration

FOUR_AT_ONCE = replace(CPU_POLICY, encode_width=4)


def alignment(*text_tokens: int) -> Align:
    return Align(
        text_tokens=list(text_tokens), num_frames=3000, language="en", task="transcribe", medfilt_width=7, qk_scale=1.0
    )


def together(engine: InProcessEngine, ask: Callable[[], Any]) -> Any:
    """Let all requests of `ask` arrive at the engine at once, which is stopped meanwhile."""
    arrived, goes_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        arrived.set()
        goes_on.wait(60)

    engine.engine._inbox.put(stand_still)
    assert arrived.wait(60)
    asked = ask()
    goes_on.set()
    return asked


def test_a_text_that_cannot_be_aligned_is_refused(tiny_model: Path) -> None:
    with InProcessEngine(tiny_model) as engine:
        session = engine.open()
        decoded(engine.decode(session, 0, sample_len=4))
        for text in ([400] * 444, [TINY.n_vocab], [-1]):
            with pytest.raises(EngineRequestInvalid):
                engine.engine.submit(session, alignment(*text), None).result(60)
        aligned, _ = engine.engine.submit(session, alignment(*[400] * 443), None).result(60)
        assert aligned.kind == "aligned"


def test_an_alignment_that_fails_leaves_those_beside_it_their_answers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def align(*arguments: Any) -> Any:
        if arguments[4].text_tokens == [401]:
            raise RuntimeError("the test says so")
        return aligned(*arguments)

    aligned = vars(runner)["align"]
    monkeypatch.setattr(runner, "align", align)
    with InProcessEngine(tiny_model, slots=4, policy=FOUR_AT_ONCE) as engine:
        sessions = [engine.open() for _ in range(3)]
        for session in sessions:
            decoded(engine.decode(session, session, sample_len=4))

        def ask() -> Any:
            texts = zip(sessions, (400, 401, 402), strict=True)
            return [engine.engine.submit(session, alignment(token), None) for session, token in texts]

        first, second, third = together(engine, ask)
        assert [answer.result(60)[0].kind for answer in (first, third)] == ["aligned", "aligned"]
        with pytest.raises(RuntimeError, match="the test says so"):
            second.result(60)
        assert decoded(engine.decode(sessions[1], 0, sample_len=4)).tokens


def test_a_prompt_that_fails_leaves_languages_their_answers(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the test says so")

    with InProcessEngine(tiny_model, slots=4, policy=FOUR_AT_ONCE) as engine:
        sessions = [engine.open() for _ in range(2)]

        def ask() -> Any:
            language = engine.engine.submit(sessions[0], DetectLanguage(), mel_of(0))
            return language, engine.decode(sessions[1], 1, sample_len=4)

        with monkeypatch.context() as failing:
            failing.setattr(Runner, "start", fail)
            language, prompt = together(engine, ask)
            assert language.result(60)[0].kind == "language"
            with pytest.raises(RuntimeError, match="the test says so"):
                prompt.result(60)
        assert decoded(engine.decode(sessions[1], 0, sample_len=4)).tokens


def test_a_window_of_nans_leaves_none_behind(tiny_model: Path) -> None:
    asked: dict[str, Any] = {"task": "transcribe", "language": "en", "temperature": 0.0}
    rules = {"suppress_tokens": [-1, END_OF_TEXT], "suppress_blank": True, "without_timestamps": False}
    with InProcessEngine(tiny_model, slots=2) as engine:
        sessions = [engine.open(), engine.open()]

        def both() -> list[list[int]]:
            lengths = zip(sessions, (50, 20), strict=True)
            running = [engine.decode(session, session, sample_len=length) for session, length in lengths]
            return [decoded(one).tokens for one in running]

        before = both()
        for options in ({}, {"beam_size": 2}, {"best_of": 2, "temperature": 1.0}):
            request = Decode(**{**asked, **rules, "sample_len": 60, **options})
            mel = torch.full((80, 3000), float("nan"))
            for answer in [engine.engine.submit(session, request, mel) for session in sessions]:
                answer.result(60)
            assert both() == before


def test_a_session_opens_one_model_only(tiny_model: Path) -> None:
    other = random_model(tiny_model.parent / "other.pt", TINY, seed=1)
    with InProcessEngine(tiny_model) as engine:
        session = engine.open()
        with pytest.raises(EngineRequestInvalid, match="has opened"):
            engine.engine.submit(session, Open(model=str(other), precision="float32"), None).result(60)
        engine.engine.forget(session)
        assert engine.stats().models == (f"{tiny_model}/float32",)
        assert not any(model.batch.sessions for model in engine.engine._models)


def test_fewer_candidates_than_one_are_refused(tiny_model: Path) -> None:
    with InProcessEngine(tiny_model) as engine:
        session = engine.open()
        with pytest.raises(EngineRequestInvalid, match="candidates"):
            engine.decode(session, 0, best_of=-1, temperature=1.0).result(60)
        assert decoded(engine.decode(session, 0, sample_len=4)).tokens


def test_beams_put_back_after_a_shrink_find_rows_again(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out once, with beams that need more rows than there are slots by now; a model makes room."""
    other = random_model(tiny_model.parent / "other.pt", TINY, seed=1)
    with InProcessEngine(tiny_model, slots=2) as engine:
        engine.engine.forget(engine.open(other))
        session = engine.open()
        undisturbed = decoded(engine.decode(session, 0, beam_size=3)).tokens
        decode, resized = Runner.decode, threading.Event()
        failed: list[int] = []

        def decode_or_fail(runner: Runner) -> Any:
            if resized.is_set() and not failed:
                failed.append(1)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return decode(runner)

        monkeypatch.setattr(Runner, "decode", decode_or_fail)
        running = engine.decode(session, 0, beam_size=3)
        wait_until(lambda: engine.stats().rows_live, 20)
        engine.resize(1)
        resized.set()
        assert decoded(running).tokens == undisturbed
        assert failed


def test_a_session_keeps_its_encoding_when_beams_need_rows_after_a_shrink(tiny_model: Path) -> None:
    beams: dict[str, Any] = {
        "task": "transcribe",
        "language": "en",
        "temperature": 0.0,
        "beam_size": 3,
        "sample_len": 10,
    }
    request = Decode(**beams, suppress_blank=True, without_timestamps=False, suppress_tokens=[-1, END_OF_TEXT])
    with InProcessEngine(tiny_model, slots=3) as engine:
        sessions = [engine.open() for _ in range(3)]
        undisturbed = decoded(engine.engine.submit(sessions[0], request, mel_of(2)))
        for session in sessions[:2]:
            decoded(engine.decode(session, session, sample_len=4))
        running = engine.decode(sessions[2], 2, sample_len=200)
        wait_until(lambda: engine.stats().rows_live, 20)
        engine.resize(1)
        decoded(running)
        again, _ = engine.engine.submit(sessions[2], request, None).result(60)
        assert again == undisturbed
