"""Measures the parts of a window: encoder batches of several sizes, one decode step, the kernels of both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from benchmarks.gpu.engine import setup
from whisper_fleet.shared.models import MODELS, CrossAttention
from whisper_fleet.workers.engine.batch.policy import policy_of
from whisper_fleet.workers.engine.device.plain_path import PlainPath
from whisper_fleet.workers.engine.loaded_model import LoadedModel
from whisper_fleet.workers.engine.sampling.row_state import IntColumn

_LONGEST_NAME = 90  # characters of a kernel name that identify it


@torch.inference_mode()
def encode_and_step(loaded: LoadedModel, rows: int, prompt: int = 0) -> tuple[float, float | None]:
    """Return the milliseconds per window of an encoder batch, and those of a decode step of `rows` rows."""
    batch = min(rows, loaded.policy.encode_width)
    encode = median(encoding(loaded, batch)) / batch
    step = stepping(loaded, rows, prompt)
    if step is None:
        return round(encode, 3), None
    with loaded.runner.stream:
        took = median(step, repeats=20)
    loaded.runner.model.state.active.zero_()
    return round(encode, 3), round(took, 3)


def fused_path(loaded: LoadedModel) -> Any:
    """Return the path of fused kernels and graphs, None if the model runs in torch's own operations."""
    return None if isinstance(loaded.runner.path, PlainPath) else loaded.runner.path


def encoding(loaded: LoadedModel, windows: int) -> Callable[[], object]:
    """Return a function that encodes this many windows into the first slots."""
    path, mels = fused_path(loaded), setup.noise(loaded.checkpoint.dims, windows)
    if path is not None:
        return lambda: path.encode(mels, list(range(windows)))
    weights, device = loaded.runner.model.weights, loaded.runner.model.device
    together = torch.stack(mels).to(device, weights.dtype)
    return lambda: loaded.runner.path.network.encode(together)


def encoding_alone(loaded: LoadedModel, windows: int) -> Callable[[], object]:
    """As `encoding`, but without the copies from the host, which the engine hides behind decode steps."""
    path = fused_path(loaded)
    return encoding(loaded, windows) if path is None else lambda: path.encode_again(windows)


def prompting(loaded: LoadedModel, windows: int, tokens: int) -> Callable[[], object]:
    """Return a function that reads prompts with so many tokens of text in the first slots and rows."""
    numbers, prompt = list(range(windows)), setup.text(tokens + 4) or []
    return lambda: loaded.runner.path.prompt([prompt] * windows, [tokens] * windows, numbers, numbers)


def stepping(loaded: LoadedModel, rows: int, prompt: int = 0) -> Callable[[], object] | None:
    """Return a function that does one decode step of `rows` rows in the middle of a text; None without graphs."""
    path = fused_path(loaded)
    if path is None:
        return None
    live(loaded, rows, prompt)
    return lambda: path.step_rows(rows, draw=False)


def live(loaded: LoadedModel, rows: int, prompt: int) -> None:
    """Put rows into the middle of a window's text, after a prompt of so many tokens."""
    state = loaded.runner.model.state
    numbers = torch.arange(rows, device=state.active.device, dtype=torch.int32)
    state.ints[:rows, IntColumn.POSITION] = prompt + 50
    state.ints[:rows, IntColumn.COUNT] = 47
    state.ints[:rows, IntColumn.MAX_SAMPLED] = 224
    state.ints[:rows, IntColumn.SLOT] = numbers
    state.holder[:rows] = numbers[:, None]
    state.active[:rows] = 1
    setup.wait(state.active.device.type)


@torch.inference_mode()
def encoder_sweep(name: str, form: CrossAttention, sizes: list[int], device: str) -> Iterator[tuple[int, float]]:
    """Yield each size of an encoder batch and its milliseconds per window, captured as the engine does it."""
    policy = replace(policy_of(device), encode_buckets=tuple(sorted(sizes)))
    loaded = setup.load(setup.random_checkpoint(name, device), max(sizes), device=device, form=form, policy=policy)
    for windows in sizes:
        encoding(loaded, windows)()
        yield windows, round(median(encoding_alone(loaded, windows)) / windows, 3)
    setup.unload(loaded)


def encoder_flops(name: str) -> float:
    """Return the floating point operations of encoding one window, without keys and values for the decoder."""
    d = MODELS[name]
    frames, a = d.n_audio_ctx, d.n_audio_state
    layer = 2 * frames * 12 * a * a + 4 * frames * frames * a
    return float(d.n_audio_layer * layer + 2 * 2 * frames * 3 * d.n_mels * a + 2 * frames * 3 * a * a)


@torch.inference_mode()
def profile(loaded: LoadedModel, rows: int, prompt: int) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    """Yield the top kernels of an encoder batch, of prompts and of one decode step: microseconds, calls, name."""
    device = loaded.runner.model.device.type
    windows = min(rows, loaded.policy.encode_width)
    yield f"encoding {windows} windows", top_kernels(encoding(loaded, windows), device)
    with loaded.runner.stream:
        yield f"reading {windows} prompts", top_kernels(prompting(loaded, windows, prompt), device)
        step = stepping(loaded, rows, prompt)
        if step is not None:
            yield "one decode step", top_kernels(step, device)
    loaded.runner.model.state.active.zero_()


def top_kernels(call: Callable[[], object], device: str, most: int = 14) -> list[tuple[object, ...]]:
    """Return where one call spends its time, after two that warm up; the last line is the sum of all."""
    for _ in range(2):
        call()
        setup.wait(device)
    kind = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with torch_profile(activities=[kind]) as watched:
        call()
        setup.wait(device)
    key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    events: list[Any] = sorted(watched.key_averages(), key=lambda event: -getattr(event, key))
    rows = [(round(getattr(one, key), 1), one.count, one.key[:_LONGEST_NAME]) for one in events]
    total = round(sum(row[0] for row in rows), 1)
    return [*rows[:most], (total, sum(row[1] for row in rows), "all")]


def median(call: Callable[[], object], repeats: int = 7) -> float:
    """Return the median milliseconds of one call."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    times = []
    call()
    for _ in range(repeats):
        setup.wait(device)
        started = time.perf_counter()
        call()
        setup.wait(device)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)
