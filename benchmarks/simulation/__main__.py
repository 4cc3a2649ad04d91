"""Simulates a fleet of a thousand GPUs under the scheduler's decision functions and under simpler policies."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.simulation.fleet import Gpu, make_backlog, make_fleet, make_jobs, model_memories
from benchmarks.simulation.plot import plot
from benchmarks.simulation.policies import FairDispatch, Policy, RandomQueues, RoundRobinQueues, SharedQueue
from benchmarks.simulation.run import LOOK, Simulation, SimulationResult, quantile
from whisper_fleet.shared.memory import ModelMemory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every policy on the same fleet and the same jobs, and print a row of results for each."""
    options = _parser().parse_args(arguments)
    results: list[SimulationResult] = []
    work = f"{options.hours} hours of audio" if options.hours else f"{options.segments} segments"
    print(f"{options.gpus} GPUs on {-(-options.gpus // 8)} hosts, {work}", flush=True)
    print(_HEADER, flush=True)
    for name in options.policies:
        figures = _run(name, options)
        results.append(figures)
        print(_row(figures), flush=True)
    if options.plot is not None:
        options.plot.write_text(plot(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument(
        "--hours", type=int, help="instead of segments: hours of audio, in ten-hour files of one tenant"
    )
    parser.add_argument("--priority", type=int, help="priority of every job, instead of three priorities")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--policies", nargs="+", choices=sorted(_POLICIES), default=list(_POLICIES))
    parser.add_argument("--plot", type=Path, help="write the busy share over time as SVG")
    return parser


def _run(name: str, options: argparse.Namespace) -> SimulationResult:
    gpus, memories = make_fleet(options.gpus, _rng(options.seed)), model_memories()
    policy = _POLICIES[name](memories, gpus, _rng(options.seed))
    simulation = Simulation(gpus, policy, memories, _rng(options.seed))
    hours, segments = options.hours, options.segments
    jobs = make_jobs(segments, _rng(options.seed), options.priority)
    figures = simulation.run(make_backlog(hours) if hours else jobs)
    if isinstance(policy, FairDispatch):
        cost = policy.spent_seconds / policy.decided * 1e6
        print(f"deciding took {cost:.0f} us per segment on this machine, with a pass every {LOOK} s", file=sys.stderr)
    return figures


def _rng(seed: int) -> random.Random:
    return random.Random(seed)  # the same world for every policy and every run


_POLICIES: dict[str, Callable[[dict[str, ModelMemory], list[Gpu], random.Random], Policy]] = {
    "fair": lambda memories, _gpus, _rng: FairDispatch(memories),
    "shared": lambda memories, _gpus, _rng: SharedQueue(memories),
    "random": RandomQueues,
    "round-robin": RoundRobinQueues,
}

_HEADER = (
    "| policy | slots busy while work waits | done after | a 10 s clip waits: median | p99 "
    "| of that after a slot got free: p99 | a segment runs: median | p99 | attempts lost | resizes |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def _row(figures: SimulationResult) -> str:
    waits, delays, runs = figures.clip_waits, figures.clip_delays, figures.segment_seconds
    return (
        f"| {figures.policy} | {figures.utilisation:.1%} | {figures.makespan:.0f} s "
        f"| {quantile(waits, 0.5):.1f} s | {quantile(waits, 0.99):.1f} s | {quantile(delays, 0.99):.1f} s "
        f"| {quantile(runs, 0.5):.1f} s | {quantile(runs, 0.99):.1f} s | {figures.lost} | {figures.resizes} |"
    )


if __name__ == "__main__":
    sys.exit(main())
