"""How fast the engine is on this GPU: windows of 30 s, a forced number of tokens, all of whisper's rules on.

    python -m benchmarks.gpu.engine_speed --models large-v3:64,256 turbo:256 base:256 --out speed.json
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import engine_setup as setup
from shared.memory import memory_of
from shared.models import MODELS
from workers.engine.loaded import Loaded
from workers.engine.state import Whole

_TOKENS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["base:1,64,256", "turbo:64,256", "large-v3:1,64,256"])
    parser.add_argument("--reproducible", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = []
    for item in arguments.models:
        name, _, rows = item.partition(":")
        for count in map(int, rows.split(",")):
            try:
                results.append(measure(name, count, reproducible=arguments.reproducible))
                print(json.dumps(results[-1]), flush=True)
            except Exception:
                traceback.print_exc()
            gc.collect()
            torch.cuda.empty_cache()
    if arguments.out:
        machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "date": time.strftime("%F")}
        arguments.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1))


def measure(name: str, rows: int, *, reproducible: bool) -> dict[str, Any]:
    """Two full waves of `rows` windows after one that warms up, and the parts of a window by themselves."""
    before = setup.device_bytes()
    started = time.perf_counter()
    checkpoint = setup.random_checkpoint(name)
    loaded = setup.load(checkpoint, rows, reproducible=reproducible)
    checkpoint.weights.clear()
    end = loaded.runner.vocabulary.end_of_text
    forced = {"sample_len": _TOKENS, "suppress_tokens": [-1, end]}
    loading = time.perf_counter() - started
    mels = setup.noise(loaded.checkpoint.dims, rows)
    first = setup.run(loaded, [setup.request(loaded, mel, **forced) for mel in mels[:1]])
    setup.run(loaded, [setup.request(loaded, mel, **forced) for mel in mels])
    waves = 2
    seconds = setup.run(loaded, [setup.request(loaded, mel, **forced) for _ in range(waves) for mel in mels])
    torch.cuda.empty_cache()
    result = {
        "model": name,
        "rows": rows,
        "gib_before": round(before / 2**30, 3),
        "times_realtime": round(30 * waves * rows / seconds),
        "ms_per_window": round(seconds / waves / rows * 1e3, 3),
        **parts(loaded, mels, rows),
        "load_s": round(loading, 2),
        "first_window_s": round(first, 2),
        "gib": round((setup.device_bytes() - before) / 2**30, 3),
        "predicted_gib": round(predicted(name, rows) / 2**30, 3),
    }
    loaded.runner.release()
    del loaded
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    result["left_after_unload_mib"] = round((setup.device_bytes() - before) / 2**20, 1)
    return result


def predicted(name: str, rows: int) -> int:
    """What shared.memory promises, less the context, which is there before we begin to measure."""
    memory = memory_of(MODELS[name], "float16", device="cuda", segment_duration=300.0)
    return memory.total(rows) - memory.context


@torch.inference_mode()
def parts(loaded: Loaded, mels: list[torch.Tensor], rows: int) -> dict[str, float]:
    """Milliseconds a window of an encoder batch with its keys and values, and of a decode step of `rows` rows."""
    batch = min(rows, 16)
    runner = loaded.runner
    some = mels[:batch]
    encode = _median(lambda: loaded.runner._fast.encode(some, list(range(batch)), torch.float16)) / batch
    live(loaded, rows)
    with runner.stream:
        step = _median(lambda: runner._fast.step(rows, False), repeats=20)
    runner.state.active.zero_()
    return {"encode_ms": round(encode, 3), "step_ms": round(step, 3)}


def live(loaded: Loaded, rows: int) -> None:
    """Rows in the middle of a window's text."""
    state = loaded.runner.state
    state.whole[:rows, Whole.POSITION] = 50
    state.whole[:rows, Whole.COUNT] = 47
    state.whole[:rows, Whole.MOST] = 224
    state.whole[:rows, Whole.SLOT] = torch.arange(rows, device="cuda", dtype=torch.int32)
    state.holder[:rows] = torch.arange(rows, device="cuda", dtype=torch.int32)[:, None]
    state.active[:rows] = 1
    torch.cuda.synchronize()


def _median(call: Any, repeats: int = 7) -> float:
    times = []
    call()
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


if __name__ == "__main__":
    main()
