"""Whether something grows, from samples of a soak."""

from __future__ import annotations

from tests.chaos.soak.flatness import series, trends
from tests.chaos.soak.plot import plot
from tests.chaos.soak.samples import Sample


def sample(minute: float, memory: float, host: str = "left") -> Sample:
    return Sample(
        minute=minute,
        host=host,
        program="gpu0",
        processes=1,
        memory=int(memory * 2**30),
        descriptors=50,
        sockets=20,
        keys=7,
    )


def test_growth_during_the_warm_up_does_not_count() -> None:
    memory = {trend.measure: trend for trend in trends([sample(m, min(m, 5.0)) for m in range(1, 31)])}["memory"]
    assert memory.is_flat
    assert memory.growth == 0.0


def test_a_leak_grows() -> None:
    found = {trend.measure: trend for trend in trends([sample(m, 1.0 + 0.05 * m) for m in range(30)])}
    assert not found["memory"].is_flat
    assert all(found[measure].is_flat for measure in ("descriptors", "sockets", "keys"))


def test_processes_of_a_moment_are_added_up_by_host() -> None:
    samples = [sample(1, 1.0), sample(1, 2.0), sample(1, 4.0, "right")]
    assert series(samples, "memory") == [(1, 7.0)]
    assert series(samples, "memory", "left") == [(1, 3.0)]


def test_the_plot_has_a_panel_per_measure_and_a_mark_per_fault() -> None:
    drawn = plot([sample(m, 1.0) for m in range(30)], [(1.0, "SIGKILL engine"), (2.0, "SIGKILL gpu0")])
    assert drawn.count("font-weight") == 4
    assert drawn.count('stroke="#a00"') == 2
