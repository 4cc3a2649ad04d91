"""Measures the engine on this GPU: windows of 30 s, random weights, a forced number of tokens, all rules on.

python -m benchmarks.gpu.engine.speed --models base:1,64,256 turbo:1,64,256 large-v3:1,64,256 --out speed.json
python -m benchmarks.gpu.engine.speed --models base:256 turbo:256 large-v3:256 --prompt 0 20 100 223
python -m benchmarks.gpu.engine.speed --models --encoder-rows 8,9,10,11,12,13,14,16,18,20,24 --encoder turbo
python -m benchmarks.gpu.engine.speed --models --profile base:256 large-v3:64
"""

from __future__ import annotations

import argparse
import gc
import time
import traceback
from typing import Any

import torch

from benchmarks.gpu.engine import parts, setup
from whisper_fleet.shared.memory import ELEMENT_BYTES, form_of, memory_of
from whisper_fleet.shared.models import MODELS, CrossAttention
from whisper_fleet.workers.engine.batch.policy import policy_of
from whisper_fleet.workers.engine.loaded_model import LoadedModel


def main() -> None:
    parser = setup.parser_of(__doc__)
    parser.add_argument("--models", nargs="*", default=["base:1,64,256", "turbo:1,64,256", "large-v3:1,64,256"])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--prompt", type=int, nargs="+", default=[0], help="tokens of text before each window")
    parser.add_argument("--waves", type=int, default=2, help="of windows that are measured, after one that warms up")
    parser.add_argument("--cross-attention", nargs="+", choices=setup.FORMS, default=["auto"])
    parser.add_argument("--reproducible", action="store_true")
    parser.add_argument("--bit-exact-encoder", action="store_true")
    parser.add_argument("--encoder-rows", type=numbers, default=[], help="sizes of encoder batches to compare")
    parser.add_argument("--encoder", nargs="+", default=["turbo"], help="models whose encoder is compared")
    parser.add_argument("--profile", nargs="*", default=[], metavar="MODEL:ROWS", help="print the top kernels")
    arguments = parser.parse_args()
    report = {
        "speed": [row for item in arguments.models for row in attempt(speeds, item, arguments)],
        "encoder": [row for name in arguments.encoder for row in attempt(encoders, name, arguments)],
        "profile": [row for item in arguments.profile for row in attempt(profiles, item, arguments)],
    }
    show(report)
    setup.write(arguments.out, arguments.device, report)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def attempt(measure: Any, item: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one model in each form; a measurement that fails does not end the others."""
    found: list[dict[str, Any]] = []
    for form in arguments.cross_attention:
        try:
            for row in measure(item, form, arguments):
                found.append({"cross_attention": form, **row})
                print(*(f"{key}={value}" for key, value in found[-1].items() if key != "kernels"), flush=True)
        except Exception:
            traceback.print_exc()
        gc.collect()
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
    return found


def speeds(item: str, form: CrossAttention, arguments: argparse.Namespace) -> Any:
    """Measure one model at growing numbers of rows; slots are added to the running model."""
    name, _, rows = item.partition(":")
    device = arguments.device
    before = setup.device_bytes(device)
    started = time.perf_counter()
    checkpoint = setup.random_checkpoint(name, device)
    policy = policy_of(device, reproducible=arguments.reproducible)
    loaded = setup.load(
        checkpoint, 1, device=device, form=form, policy=policy, bit_exact_encoder=arguments.bit_exact_encoder
    )
    checkpoint.weights.clear()
    loading = time.perf_counter() - started
    for count in sorted(numbers(rows)):
        loaded.capacity.resize(count)
        for prompt in arguments.prompt:
            yield {
                "model": name,
                "rows": count,
                "prompt": prompt,
                **speed(loaded, count, prompt, arguments),
                "load_s": round(loading, 2),
                "gib": round((setup.device_bytes(device) - before) / 2**30, 3),
                "predicted_gib": round(predicted(name, count, form, device) / 2**30, 3),
            }
    setup.unload(loaded)
    del loaded
    yield {"model": name, "left_after_unload_mib": round((setup.device_bytes(device) - before) / 2**20, 1)}


def speed(loaded: LoadedModel, rows: int, prompt: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure full waves of `rows` windows, each after a prompt of so many tokens, and the parts of a window."""
    mels = setup.noise(loaded.checkpoint.dims, rows, pinned=arguments.device == "cuda")
    options = {**setup.forced(loaded, arguments.tokens), "prompt": setup.text(prompt)}
    first = setup.run(loaded, [setup.request(loaded, mels[0], **options)])
    setup.run(loaded, [setup.request(loaded, mel, **options) for mel in mels])
    waves = arguments.waves
    seconds = setup.run(loaded, [setup.request(loaded, mel, **options) for _ in range(waves) for mel in mels])
    if loaded.runner.model.device.type == "cuda":
        torch.cuda.empty_cache()
    encode, step = parts.encode_and_step(loaded, rows, prompt)
    return {
        "times_realtime": round(setup.SECONDS_A_WINDOW * waves * rows / seconds, 1),
        "ms_per_window": round(seconds / waves / rows * 1e3, 3),
        "encode_ms": encode,
        "step_ms": step,
        "first_window_s": round(first, 2),
    }


def predicted(name: str, rows: int, form: CrossAttention, device: str) -> int:
    """Return the bytes that whisper_fleet.shared.memory predicts, without the context, which exists beforehand."""
    capability = torch.cuda.get_device_capability() if device == "cuda" else None
    actual = form_of(form, ELEMENT_BYTES["float16"], capability)
    memory = memory_of(MODELS[name], "float16", device=device, segment_duration=300.0, form=actual)
    return memory.total(rows) - memory.context


def encoders(name: str, form: CrossAttention, arguments: argparse.Namespace) -> Any:
    """Measure the milliseconds per window of encoder batches of several sizes."""
    if not arguments.encoder_rows:
        return
    for windows, took in parts.encoder_sweep(name, form, arguments.encoder_rows, arguments.device):
        teraflops = parts.encoder_flops(name) / took / 1e9
        yield {"model": name, "windows": windows, "encode_ms": took, "teraflops": round(teraflops)}


def profiles(item: str, form: CrossAttention, arguments: argparse.Namespace) -> Any:
    """Measure the kernels that encoding and one decode step spend their time in."""
    name, _, rows = item.partition(":")
    loaded = setup.load(setup.random_checkpoint(name, arguments.device), int(rows), device=arguments.device, form=form)
    for prompt in arguments.prompt:
        for what, kernels in parts.profile(loaded, int(rows), prompt):
            yield {"model": name, "rows": int(rows), "prompt": prompt, "what": what, "kernels": kernels}
    setup.unload(loaded)


def show(report: dict[str, Any]) -> None:
    for one in report["profile"]:
        print(
            f"\n{one['model']} at {one['rows']} rows, {one['cross_attention']}, prompts {one['prompt']}: {one['what']}"
        )
        setup.table(("us", "calls", "kernel"), one["kernels"])
    if report["encoder"]:
        print("\nencoder batches, in a graph")
        show_columns(report["encoder"], "model", "cross_attention", "windows", "encode_ms", "teraflops")
    if report["speed"]:
        print("\nthe engine, random weights")
        show_columns(report["speed"], "model", "cross_attention", "rows", "prompt", "times_realtime", "ms_per_window",
                     "encode_ms", "step_ms", "gib", "predicted_gib", "left_after_unload_mib")  # fmt: skip


def show_columns(rows: list[dict[str, Any]], *keys: str) -> None:
    setup.table(keys, [tuple(one.get(key) for key in keys) for one in rows])


if __name__ == "__main__":
    main()
