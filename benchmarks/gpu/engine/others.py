"""Measures other implementations on this GPU as `speed` does: windows of 30 s, random weights, forced tokens, fp16.

Stock openai-whisper in one and in several processes that share the GPU, all of whisper's rules on; and `generate` of
transformers at fixed batch sizes, without any timestamp rule, its features on the GPU beforehand. `static` is its
static cache with compiled steps, `dynamic` its default. The JSON is rewritten after each point.

    python -m benchmarks.gpu.engine.others --out stock.json stock --models base turbo large-v3 --processes 1 16
    python -m benchmarks.gpu.engine.others --out transformers.json transformers --points turbo:64,128,256
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
import whisper
from whisper.decoding import DecodingOptions
from whisper.model import Whisper

from benchmarks.gpu.engine import setup
from whisper_fleet.shared.models import MODELS

_PATIENCE_S = 120.0  # until the slowest process has its model
_SPECIAL = 50257  # end of text of all multilingual models; start of transcript, English and transcribe follow


def main() -> None:
    parser = setup.parser_of(__doc__)
    parser.add_argument("--tokens", type=int, default=100)
    kinds = parser.add_subparsers(required=True)
    stock = kinds.add_parser("stock")
    stock.add_argument("--models", nargs="+", default=["base", "turbo", "large-v3"])
    stock.add_argument("--processes", type=int, nargs="+", default=[1, 16])
    stock.set_defaults(measure=stock_points)
    theirs = kinds.add_parser("transformers")
    theirs.add_argument("--points", nargs="+", default=["base:64,128,256", "turbo:64,128,256", "large-v3:64,128,256"])
    theirs.add_argument("--cache", choices=("dynamic", "static"), default="dynamic")
    theirs.set_defaults(measure=transformers_points)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for row in arguments.measure(arguments):
        rows.append(row)
        print(row, flush=True)
        setup.write(arguments.out, arguments.device, {"rows": rows})
    keys = ("what", "model", "at_once", "times_realtime", "seconds", "gib")
    setup.table(keys, [tuple(row.get(key) for key in keys) for row in rows])


def stock_points(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure each model in each number of processes, which are started once."""
    plan = [(name, count) for count in sorted(arguments.processes) for name in arguments.models]
    start = multiprocessing.get_context("spawn")
    most = max(arguments.processes)
    barrier, results = start.Barrier(most), start.SimpleQueue()
    workers = [
        start.Process(target=stock_worker, args=(number, plan, arguments.device, arguments.tokens, barrier, results))
        for number in range(most)
    ]
    for worker in workers:
        worker.start()
    try:
        for name, count in plan:
            parts = [results.get() for _ in range(most)]
            yield {"what": "openai-whisper", "model": name, "at_once": count, **together(parts)}
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Make one figure of the parts of all processes, from the first start to the last end."""
    if failed := [part["error"] for part in parts if "error" in part]:
        return {"error": failed[0]}
    busy = [part for part in parts if part["windows"]]
    seconds = max(part["ended"] for part in busy) - min(part["began"] for part in busy)
    windows = sum(part["windows"] for part in busy)
    return {
        "times_realtime": round(setup.SECONDS_A_WINDOW * windows / seconds, 1),
        "seconds": round(seconds, 2),
        "gib": round(max(part["device_bytes"] for part in busy) / 2**30, 1),
    }


def stock_worker(
    number: int, plan: list[tuple[str, int]], device: str, tokens: int, barrier: Any, results: Any
) -> None:
    """Run one of the processes: it does its part of every point, and waits for the others."""
    torch.set_num_threads(1)
    for name, count in plan:
        part: dict[str, Any] = {"windows": 0}
        windows = 0 if number >= count else 2 if count == 1 else 1
        decode: Callable[[int], object] | None = None
        try:
            if windows:
                decode = stock_decoder(name, device)
                decode(tokens)  # plans of attention are made for each length
        except Exception as error:
            part["error"] = f"{type(error).__name__}: {error}"[:200]
        try:
            barrier.wait(_PATIENCE_S)
            if decode is not None and "error" not in part:
                part["device_bytes"] = setup.device_bytes(device)
                part["began"] = time.monotonic()
                for _ in range(windows):
                    decode(tokens)
                part.update(ended=time.monotonic(), windows=windows)
            barrier.wait(_PATIENCE_S)
        except (threading.BrokenBarrierError, RuntimeError) as error:
            part["error"] = f"{type(error).__name__}: {error}"[:200]
            barrier.abort()
        results.put(part)
        del decode
        free(device)


def stock_decoder(name: str, device: str) -> Callable[[int], object]:
    """Return a function that decodes one window of noise to a number of tokens, with whisper's model and rules."""
    with torch.device(device):
        model = Whisper(MODELS[name]).eval()
        torch.nn.init.normal_(model.decoder.positional_embedding, std=0.01)
    mel = torch.randn(model.dims.n_mels, 2 * model.dims.n_audio_ctx, device=device, dtype=setup.dtype_of(device))

    def decode(tokens: int) -> object:
        options = DecodingOptions(
            language="en", sample_len=tokens, suppress_tokens=[-1, _SPECIAL], fp16=device == "cuda"
        )
        result = whisper.decode(model, mel, options)
        setup.wait(device)
        return result

    return decode


def transformers_points(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure each model at each batch size, with one kind of cache."""
    for item in arguments.points:
        name, _, batches = item.partition(":")
        model = transformers_model(name, arguments.device)
        for batch in map(int, batches.split(",")):
            point = {"what": f"transformers, {arguments.cache}", "model": name, "at_once": batch}
            try:
                yield {**point, **generating(model, batch, arguments)}
            except Exception as error:
                traceback.print_exc()
                yield {**point, "error": f"{type(error).__name__}: {error}"[:200]}
            free(arguments.device)
        del model
        free(arguments.device)


def transformers_model(name: str, device: str) -> Any:
    """Return the Whisper of transformers in an official size, with its own random weights."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration, logging

    logging.set_verbosity_error()
    d = MODELS[name]
    config = WhisperConfig(
        vocab_size=d.n_vocab,
        num_mel_bins=d.n_mels,
        d_model=d.n_audio_state,
        encoder_layers=d.n_audio_layer,
        encoder_attention_heads=d.n_audio_head,
        encoder_ffn_dim=4 * d.n_audio_state,
        decoder_layers=d.n_text_layer,
        decoder_attention_heads=d.n_text_head,
        decoder_ffn_dim=4 * d.n_text_state,
        pad_token_id=_SPECIAL,
        bos_token_id=_SPECIAL,
        eos_token_id=_SPECIAL,
        decoder_start_token_id=_SPECIAL + 1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    with torch.device(device):
        model = WhisperForConditionalGeneration._from_config(
            config, attn_implementation="sdpa", dtype=setup.dtype_of(device)
        )
    return model.eval()


def generating(model: Any, batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one batch after a first one like it, which makes attention's plans and compiles the steps."""
    device, tokens, dtype = arguments.device, arguments.tokens, setup.dtype_of(arguments.device)
    mels = torch.randn(batch, model.config.num_mel_bins, 3000, device=device, dtype=dtype)
    start = torch.tensor([[_SPECIAL + 1, _SPECIAL + 2, _SPECIAL + 103]], device=device).repeat(batch, 1)
    cache = {"cache_implementation": "static"} if arguments.cache == "static" else {}

    def generate(length: int) -> Any:
        made = model.generate(
            input_features=mels, decoder_input_ids=start, do_sample=False, num_beams=1,
            min_new_tokens=length, max_new_tokens=length, **cache,
        )  # fmt: skip
        setup.wait(device)
        return made

    began = time.perf_counter()
    generate(tokens)
    warming = time.perf_counter() - began
    began = time.perf_counter()
    made = generate(tokens)
    seconds = time.perf_counter() - began
    if made.shape[1] < tokens:
        raise RuntimeError(f"it made {made.shape[1]} tokens, not {tokens}")
    return {
        "times_realtime": round(setup.SECONDS_A_WINDOW * batch / seconds, 1),
        "seconds": round(seconds, 2),
        "warming_s": round(warming, 1),
        "gib": round(setup.device_bytes(device) / 2**30, 1),
    }


def free(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
