"""The engine as a process behind its socket: requests, failures, and its end with its node."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
import whisper
from whisper.decoding import DecodingOptions

from tests.support.in_process_engine import TINY, random_model
from tests.support.waiting import wait_until
from whisper_fleet.shared.errors import EngineDied, EngineRequestInvalid, ModelUnavailable
from whisper_fleet.workers.link.client import EngineClient
from whisper_fleet.workers.link.protocol import PREFIX

pytestmark = pytest.mark.integration

GREEDY = DecodingOptions(language="en", sample_len=12, fp16=False)


class EngineProcess:
    """An engine on the CPU, alive while its standard input is open."""

    def __init__(self, socket: Path, model_dir: Path, *options: str | Path) -> None:
        self.socket = socket
        command = [sys.executable, "-m", "whisper_fleet.workers.engine", "serve", "--socket", socket, "--device", "cpu"]
        command += ["--slots", "2", "--model-dir", model_dir, *options]
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                EngineClient(self.socket).stats()
                return
            except EngineDied:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)


@pytest.fixture
def engine(tmp_path: Path, tiny_model: Path) -> Iterator[EngineProcess]:
    (tmp_path / "engine.sock").write_text("left over from an engine that was killed")
    engine = EngineProcess(tmp_path / "engine.sock", tmp_path, "--model-root", tiny_model.parent)
    try:
        engine.wait_until_ready()
        yield engine
    finally:
        engine.process.kill()
        engine.process.communicate()


@pytest.fixture
def client(engine: EngineProcess) -> EngineClient:
    return EngineClient(engine.socket)


def window(seed: int = 0) -> torch.Tensor:
    return torch.randn(80, 3000, generator=torch.Generator().manual_seed(seed))


def refusal(engine: EngineProcess, text: bytes, tensor: bytes = b"") -> str:
    """How the engine answers to a frame that no client of ours would send."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(engine.socket))
        wire.sendall(PREFIX.pack(len(text), len(tensor)) + text + tensor)
        size, _ = PREFIX.unpack(wire.recv(PREFIX.size))
        return str(json.loads(wire.recv(size))["error"])


def test_a_window_decodes_as_whisper_decodes_it(client: EngineClient, tiny_model: Path) -> None:
    plain = whisper.decode(whisper.load_model(str(tiny_model), device="cpu"), window(), GREEDY)
    with client.session(str(tiny_model), "float32") as session:
        decoded = session.decode(window(), GREEDY)
    assert decoded.tokens == plain.tokens
    assert decoded.text == plain.text
    assert decoded.avg_logprob == pytest.approx(plain.avg_logprob, abs=1e-5)
    assert decoded.no_speech_prob == pytest.approx(plain.no_speech_prob, rel=1e-4)


def test_options_that_whisper_refuses_fail_alone(client: EngineClient, tiny_model: Path) -> None:
    with client.session(str(tiny_model), "float32") as session:
        with pytest.raises(EngineRequestInvalid, match="best_of"):
            session.decode(window(), DecodingOptions(language="en", best_of=3))
        assert session.decode(window(), GREEDY).tokens


def test_tensors_of_no_possible_shape_are_refused(
    client: EngineClient, engine: EngineProcess, tiny_model: Path
) -> None:
    shapes: list[tuple[int, ...]] = [(0, -1), (2**40, 2**40), (2**70, 0), (0,), (-1, -2)]
    with client.session(str(tiny_model), "float32") as session:
        for shape in shapes:
            request = {"kind": "detect_language", "tensor": {"dtype": "float32", "shape": shape}}
            tensor = b"8 bytes." if shape == (-1, -2) else b""
            assert refusal(engine, json.dumps(request).encode(), tensor) == "EngineRequestInvalid"
        assert session.decode(window(), GREEDY).tokens


def test_model_files_that_cannot_be_used_disturb_nobody(client: EngineClient, tiny_model: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(tiny_model.read_bytes()[:100_000])
    (tmp_path / "words.pt").write_text("not a checkpoint")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    with client.session(str(tiny_model), "float32") as session:
        for name in ("truncated.pt", "words.pt", "foreign.pt", "missing.pt"):
            with pytest.raises(ModelUnavailable, match=name):
                client.session(str(tmp_path / name), "float32")
        os.mkfifo(tmp_path / "fifo.pt")
        content = torch.load(tiny_model, weights_only=True)
        torch.save({**content, "dims": {**content["dims"], "n_text_layer": 20_000}}, tmp_path / "claims.pt")
        words = {**content["model_state_dict"], "decoder.ln.weight": "a text"}
        torch.save({**content, "model_state_dict": words}, tmp_path / "text.pt")
        for name, reason in {
            "fifo.pt": "is not a regular file",
            "claims.pt": "n_text_layer is 20000",
            "text.pt": "more than tensors of numbers",
            "../outside.pt": "is outside the directories of checkpoints",
        }.items():
            with pytest.raises(ModelUnavailable, match=reason):
                client.session(str(tmp_path / name), "float32")
        fetch = rf"`WHISPER_FLEET_MODEL_DIR={tmp_path}\S* \S*whisper-fleet fetch medium`"
        with pytest.raises(ModelUnavailable, match=rf"has no medium\.pt; fetch it there with {fetch}"):
            client.session("medium", "float32")
        assert session.decode(window(), GREEDY).tokens


def test_only_the_owner_may_connect(engine: EngineProcess) -> None:
    assert stat.S_IMODE(engine.socket.stat().st_mode) == 0o600


def test_more_clients_than_it_may_open_files_wait_outside(
    client: EngineClient, engine: EngineProcess, tiny_model: Path
) -> None:
    session = client.session(str(tiny_model), "float32")
    resource.prlimit(engine.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    with session, contextlib.ExitStack() as crowd:
        for _ in range(100):
            crowd.enter_context(socket.socket(socket.AF_UNIX)).connect(str(engine.socket))
        assert session.decode(window(), GREEDY).tokens
        processor_time = psutil.Process(engine.process.pid).cpu_times
        before = processor_time().user
        time.sleep(1)
        assert processor_time().user - before < 0.5  # it does not look for room again and again
        crowd.close()
        assert client.stats().models


def test_models_that_were_loaded_beforehand_are_unloaded_like_others(tiny_model: Path, tmp_path: Path) -> None:
    other = random_model(tmp_path / "other.pt", TINY, seed=1)
    preload = [f"--preload={model}/float32" for model in (tiny_model, other)]
    preload += ["--model-root", str(tiny_model.parent)]
    engine = EngineProcess(tmp_path / "engine.sock", tmp_path, *preload, "--idle-timeout", "0.1")
    try:
        engine.wait_until_ready()
        wait_until(lambda: not EngineClient(engine.socket).stats().models, 20)
    finally:
        engine.process.kill()
        engine.process.communicate()


def test_the_engine_ends_with_its_node(engine: EngineProcess) -> None:
    assert engine.process.stdin is not None
    engine.process.stdin.close()
    assert engine.process.wait(timeout=30) == 0
    assert not engine.socket.exists()


def test_a_session_learns_that_its_engine_died(engine: EngineProcess, client: EngineClient, tiny_model: Path) -> None:
    with client.session(str(tiny_model), "float32") as session:
        engine.process.kill()
        engine.process.wait()
        with pytest.raises(EngineDied):
            session.decode(window(), GREEDY)
    with pytest.raises(EngineDied):
        client.stats()
