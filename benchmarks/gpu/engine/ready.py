"""Measures how long an engine process takes from its start to the reply about its first window.

Cold is a start without Triton's cache of compiled kernels, warm is one with it. Weights are random unless
`--checkpoint` names a real file.

    python -m benchmarks.gpu.engine.ready --models base large-v3 --out ready.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from whisper.decoding import DecodingOptions

from benchmarks.gpu.engine import setup
from whisper_fleet.shared.errors import EngineDied
from whisper_fleet.workers.link.client import EngineClient, EngineSession

_PATIENCE_S = 120.0


def main() -> None:
    parser = setup.parser_of(__doc__)
    parser.add_argument("--models", nargs="*", default=["base", "large-v3"], help="official sizes, random weights")
    parser.add_argument("--checkpoint", type=Path, nargs="*", default=[])
    parser.add_argument("--tokens", type=int, default=100)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = [path.absolute() for path in arguments.checkpoint]
        files += [random_file(name, Path(folder), arguments.device) for name in arguments.models]
        for file in files:
            cache = Path(folder) / f"kernels-{file.stem}"
            for kernels in ("cold", "warm"):
                found = start_to_answer(file, arguments.device, arguments.tokens, Path(folder), cache)
                rows.append({"model": file.stem, "kernels": kernels, **found})
    setup.table(("model", "kernels", "answers after s", "model open s", "first window s", "second window s"),
                [tuple(row.values()) for row in rows])  # fmt: skip
    setup.write(arguments.out, arguments.device, {"ready": rows})


def random_file(name: str, folder: Path, device: str) -> Path:
    """Write a checkpoint file of an official size in float16, with random weights."""
    checkpoint = setup.random_checkpoint(name, device)
    path = folder / f"random-{name}.pt"
    weights = {key: value.cpu() for key, value in checkpoint.weights.items()}
    torch.save({"dims": vars(checkpoint.dims), "model_state_dict": weights}, path)
    checkpoint.weights.clear()
    if device == "cuda":
        torch.cuda.empty_cache()
    return path


def start_to_answer(file: Path, device: str, tokens: int, folder: Path, cache: Path) -> dict[str, float]:
    """Return the seconds from the start of the process to its first reply, to the open model, and to each window."""
    socket = folder / "engine.sock"
    command = serve_command(socket, device)
    environment = {**os.environ, "TRITON_CACHE_DIR": str(cache)}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as engine:
        try:
            client = answering(EngineClient(socket), engine)
            answered = time.perf_counter() - started
            precision = "float16" if device == "cuda" else "float32"
            with client.session(str(file), precision) as session:  # type: ignore[arg-type]  # one of two precisions
                opened = time.perf_counter() - started
                windows = []
                for _ in range(2):
                    decode(session, tokens)
                    windows.append(time.perf_counter() - started)
        finally:
            engine.terminate()
    return {"answers_s": round(answered, 2), "open_s": round(opened, 2),
            "first_window_s": round(windows[0], 2), "second_window_s": round(windows[1] - windows[0], 3)}  # fmt: skip


def serve_command(socket: Path, device: str, slots: int = 1) -> list[str]:
    """Return the engine's command line; models lie beside the socket."""
    return [sys.executable, "-m", "whisper_fleet.workers.engine", "--log-level", "WARNING", "serve", "--device", device,
            "--slots", str(slots), "--socket", str(socket), "--model-dir", str(socket.parent)]  # fmt: skip


def answering(client: EngineClient, engine: subprocess.Popen[bytes]) -> EngineClient:
    """Return the client as soon as the engine replies to it."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and engine.poll() is None:
        try:
            client.stats()
        except EngineDied:
            time.sleep(0.02)
        else:
            return client
    raise SystemExit("the engine did not come up")


def decode(session: EngineSession, tokens: int) -> None:
    """Decode one window of noise, with a forced number of tokens."""
    end_of_text = 50257 if session.dims.is_multilingual else 50256
    options = DecodingOptions(language="en", sample_len=tokens, suppress_tokens=[-1, end_of_text])
    session.decode(torch.randn(session.dims.n_mels, 2 * session.dims.n_audio_ctx), options)


if __name__ == "__main__":
    main()
