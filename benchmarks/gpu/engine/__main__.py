"""Runs all measurements of the engine on this GPU in 9 minutes. Each has a process of its own and a time limit.

    python -m benchmarks.gpu.engine --checkpoint base.pt --speech speech --out figures

`figures/all.json` holds the figures of each part, rewritten after each; `figures/all.log` all that was printed.
`--parts` chooses; memory-MODEL parts run only when asked for. `--device cpu` rehearses everything with tiny models.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_SHOWN = 32  # lines of a part that are shown, the last ones: its table


@dataclass(frozen=True)
class Part:
    """One measurement: the name and arguments of a module, and its time limit in seconds."""

    name: str
    words: tuple[str, ...]
    limit_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("var/gpu"), help="a folder for figures and log")
    parser.add_argument("--checkpoint", type=Path, help="a real model, for exactness and start; without it: neither")
    parser.add_argument("--speech", nargs="+", metavar="FOLDER[:LANGUAGE]", help="else the shipped clips")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--parts", nargs="+", help="names of parts, in this order")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {part.name: part for part in plan(arguments)}
    names = arguments.parts or [name for name in parts if not name.startswith("memory")]
    if unknown := [name for name in names if name not in parts]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}")
    end = time.monotonic() + 60 * arguments.minutes
    statuses = {name: run(parts[name], arguments, end) for name in names}
    print("\n".join(f"{name}: {status}" for name, status in statuses.items()))
    return 0 if all(status.startswith("done") for status in statuses.values()) else 1


def plan(arguments: argparse.Namespace) -> list[Part]:
    """Return all parts, the most important first: a slow machine may not reach the last ones."""
    on_gpu = arguments.device == "cuda"
    models = ("base", "turbo", "large-v3") if on_gpu else ("tiny",)
    rows, batches = ("1,64,256", "64,128,256") if on_gpu else ("1,2", "1,2")
    tokens = () if on_gpu else ("--tokens", "4")
    sizes = "8,9,10,11,12,13,14,16,18,20,24" if on_gpu else "1,2"
    speech = ("--speech", *arguments.speech) if arguments.speech else ()
    exact = () if on_gpu else ("--windows", "2", "--slots", "2", "--control", "2", "--by-part", "2")
    real = ("--checkpoint", str(arguments.checkpoint))
    profiled = ("base:256", "turbo:256", "large-v3:64") if on_gpu else ("tiny:2",)
    compiled = ("turbo:256", "large-v3:64", "large-v3:256", "turbo:64") if on_gpu else ("tiny:1",)
    forms = ("--cross-attention", "cached", "absorbed")
    others = ("others", *tokens)
    all_rows = [f"{name}:{rows}" for name in models]
    all_batches = [f"{name}:{batches}" for name in models]
    with_model = [
        Part("exact", ("exact", *real, *speech, *exact, *forms), 200),
        Part("ready", ("ready", *tokens, *real, "--models", models[-1]), 100),
    ]
    memory = ("tiny", "base", "small", "medium", "turbo", "large-v3") if on_gpu else ("tiny",)
    slots = "1,8,64" if on_gpu else "1"
    return [
        Part("encoder", ("speed", "--models", "--encoder-rows", sizes, "--encoder", models[-1],
                         "--profile", *profiled), 75),
        *(with_model[:1] if arguments.checkpoint else []),
        Part("speed", ("speed", *tokens, "--models", *all_rows, *forms), 150),
        Part("stock", (*others, "stock", "--models", *models, "--processes", "1", "16" if on_gpu else "2"), 90),
        Part("transformers", (*others, "transformers", "--points", *all_batches), 70),
        *(with_model[1:] if arguments.checkpoint else []),
        Part("reproducible", ("speed", *tokens, "--reproducible", "--models",
                              *(("base:256", "large-v3:64") if on_gpu else ("tiny:1",))), 60),
        Part("compiled", (*others, "transformers", "--cache", "static", "--points", *compiled), 120),
        *(Part(f"memory-{name}", ("speed", "--tokens", "8", "--models", f"{name}:{slots}"), 60)
          for name in memory),
    ]  # fmt: skip


def run(part: Part, arguments: argparse.Namespace, end: float) -> str:
    """Run one part within its limit and within the time that is left for all; return how it ended."""
    limit = min(part.limit_s, end - time.monotonic())
    if limit < 5:
        return "left out, no time"
    print(f"\n== {part.name}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures, log = Path(folder) / "figures.json", Path(folder) / "log"
        head, *rest = part.words
        command = [sys.executable, "-u", "-m", f"benchmarks.gpu.engine.{head}", "--device", arguments.device,
                   "--out", str(figures), *rest]  # fmt: skip
        status = ended(command, log, limit)
        text = log.read_text(errors="replace")
        keep(part, figures, arguments.out / "all.json")
    with (arguments.out / "all.log").open("a") as whole:
        whole.write(f"\n== {part.name}: {' '.join(part.words)}\n{text}")
    print("\n".join(text.splitlines()[-_SHOWN:]), flush=True)
    return f"{status}, {time.monotonic() - started:.0f} s"


def ended(command: list[str], log: Path, limit: float) -> str:
    """Run the command and return how it ended. All processes that it started are killed."""
    with log.open("wb") as printed:
        child = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = child.wait(limit)
            return "done" if code == 0 else f"failed with {code}"
        except subprocess.TimeoutExpired:
            return "ended at its limit"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def keep(part: Part, figures: Path, everything: Path) -> None:
    """Add the figures of a part, if there are any, to those of the others."""
    if figures.exists():
        known = json.loads(everything.read_text()) if everything.exists() else {}
        everything.write_text(json.dumps({**known, part.name: json.loads(figures.read_text())}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
