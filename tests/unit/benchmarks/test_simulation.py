"""The simulation shows on a small fleet what it shows on a large one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from benchmarks.simulation import __main__
from benchmarks.simulation.fleet import make_backlog, make_fleet, make_jobs, model_memories
from benchmarks.simulation.plot import plot
from benchmarks.simulation.policies import FairDispatch, Policy, RandomQueues, SharedQueue
from benchmarks.simulation.run import Simulation, SimulationResult, quantile

MEMORIES = model_memories()


def run(policy: str, *, seed: int = 3, backlog_hours: int = 0) -> SimulationResult:
    gpus = make_fleet(16, random.Random(seed))
    policies: dict[str, Callable[[], Policy]] = {
        "fair": lambda: FairDispatch(MEMORIES),
        "shared": lambda: SharedQueue(MEMORIES),
        "random": lambda: RandomQueues(MEMORIES, gpus, random.Random(seed)),
    }
    simulation = Simulation(gpus, policies[policy](), MEMORIES, random.Random(seed))
    jobs = make_backlog(backlog_hours) if backlog_hours else make_jobs(3000, random.Random(seed))
    return simulation.run(jobs)


def test_every_segment_runs_and_those_that_were_lost_run_again() -> None:
    figures = run("fair", backlog_hours=500)
    clips = len(figures.clip_waits)
    assert clips > 10
    assert figures.started == 50 * 120 + clips + figures.lost


def test_slots_are_busy_while_work_waits() -> None:
    assert run("fair").utilisation > 0.97
    assert run("random").utilisation < 0.8


def test_a_clip_is_not_behind_a_thousand_hours() -> None:
    fair, shared = run("fair", backlog_hours=1000), run("shared", backlog_hours=1000)
    assert quantile(fair.clip_delays, 0.99) <= quantile(fair.segment_seconds, 0.5)
    assert quantile(fair.clip_waits, 0.5) < 1.0
    assert quantile(shared.clip_waits, 0.5) > 60.0


def test_the_same_seed_gives_the_same_figures() -> None:
    assert run("fair") == run("fair")


def test_it_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["--gpus", "8", "--segments", "300", "--policies", "fair", "shared"]) == 0
    out = capsys.readouterr().out
    assert "8 GPUs on 1 hosts, 300 segments" in out
    assert "| fair, least loaded | " in out
    assert "| one shared queue | " in out


def test_the_plot_has_a_line_a_policy() -> None:
    figures = [run("fair"), run("random")]
    drawing = plot(figures)
    assert drawing.count("<polyline") == 2
    assert "random: " in drawing
