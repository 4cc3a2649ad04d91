"""Parts a and b of the benchmark of the scheduler: a neighbour takes memory of the GPU while the fleet works on it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.fleet.live import LiveFleet, until
from benchmarks.gpu.fleet.load import Load, Outcome, wait
from benchmarks.gpu.fleet.samples import Sample, Watch
from benchmarks.gpu.fleet.tenant import Tenant
from whisper_fleet.shared.wire import SlotDecision

_GIB = 2**30
_NEXT_TO_NOTHING = 2**26
_OUT_OF_MEMORY = r"EngineOutOfMemory|OutOfMemoryError|out of memory"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The sizes (bytes) and durations (seconds) of a run."""

    jobs: int  # kept going on
    card: int  # memory of the GPU to simulate: a third process holds the rest of its memory all the time
    takes: int  # the neighbour of part a, at once
    step: int  # the neighbour of part b, again and again
    leaves: int  # until so much is left
    deep: int  # jobs of part d, all at once
    step_seconds: float
    quiet: float  # before the neighbour comes
    stays: float
    after: float  # once it has gone
    drain: float  # at most, until the last segment has ended
    warm: float  # at most, until model and slots are there


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table."""

    what: str
    wanted: str
    seen: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every part needs: the fleet, the plan and the samples."""

    fleet: LiveFleet
    file: Path
    asked: dict[str, Any]  # of every job
    new_tenant: Callable[[int], Tenant]  # on the GPU of an index
    total: int  # bytes of the first GPU
    plan: Plan

    def load(self) -> Load:
        return Load(self.fleet, self.file, **self.asked)


class Part:
    """One neighbour on the first GPU next to an overloaded fleet."""

    def __init__(self, bench: Bench) -> None:
        self.plan, self.load = bench.plan, bench.load()
        self.tenant, self.third = bench.new_tenant(0), bench.new_tenant(0)
        self.third.take(max(0, bench.total - self.plan.card))
        self.watch = Watch(bench.fleet, 0, self.load, self.tenant, aside=self.third.held)
        self.samples: dict[str, Sample] = {}
        self.moments: dict[str, float] = {}
        self._fleet = bench.fleet
        self._said = self._bad_news()

    def close(self) -> None:
        """Return whether the memory is free again."""
        self.tenant.close()
        self.third.close()

    def warm_up(self) -> None:
        """Wait for jobs, the model and every wanted slot, and then for a quiet period."""
        self.load.keep(self.plan.jobs)
        self.moments["full"] = until("full slots", lambda: _is_full(self.watch.last), self.plan.warm)
        wait(self.plan.quiet)
        self.keep("before")

    def keep(self, name: str) -> None:
        """Mark the last sample as one that the table shows."""
        if self.watch.last is None:
            raise RuntimeError("nothing was sampled")
        self.samples[name] = self.watch.last

    def mark(self, name: str, event: str = "") -> None:
        """Record an event at this moment; an event with a label is drawn in the plot."""
        self.moments[name] = self.watch.note(event)

    def finish(self) -> None:
        """Submit no more jobs and wait for the open ones."""
        self.mark("no_more_jobs", "no more jobs")
        self.moments["drained_after"] = self.load.end(self.plan.drain)
        wait(2.0)
        self.keep("end")

    def report(self, *checks: Check) -> dict[str, Any]:
        """Return the checks of this part and those that every part makes."""
        outcome = self.load.outcome()
        everything = [*checks, _fewer(self.samples["before"], self.samples["during"]), *self._harmless(outcome)]
        return {
            "checks": [asdict(check) for check in everything],
            "outcome": asdict(outcome),
            "moments": self.moments,
            **{name: asdict(sample) for name, sample in self.samples.items()},
            **self.watch.as_dict(),
        }

    def _harmless(self, outcome: Outcome) -> list[Check]:
        """Check that nothing was lost and the engine was not restarted."""
        pids = {sample.engine_pid for sample in self.watch.samples if sample.engine_pid is not None}
        ended, short = (now - then for now, then in zip(self._bad_news(), self._said, strict=True))
        restarts = max(len(pids) - 1, ended)
        lost, received = outcome.attempts_lost, outcome.received_success
        return [
            Check(what="done, by the ledger", wanted="all", seen=outcome.account, holds=outcome.is_whole),
            Check(what="SUCCESS", wanted=f"{outcome.jobs}", seen=f"{received}", holds=received == outcome.jobs),
            Check(what="attempts lost", wanted="0", seen=f"{lost}", holds=lost == 0),
            Check(what="engine restarts", wanted="0", seen=f"{restarts}", holds=len(pids) == 1 and not ended),
            Check(what="log lines of memory running out", wanted="0", seen=f"{short}", holds=short == 0),
        ]

    def _bad_news(self) -> tuple[int, int]:
        """Return the log lines about engines that ended and memory that ran out."""
        return self._fleet.mentions("the engine ended after"), self._fleet.mentions(_OUT_OF_MEMORY)


def sixty_gib(bench: Bench) -> dict[str, Any]:
    """Part a: a neighbour takes much memory at once and frees it later."""
    part, plan = Part(bench), bench.plan
    with closing(part), part.watch:
        part.warm_up()
        part.mark("takes", f"another process takes {_gib(plan.takes)}")
        part.tenant.take(plan.takes)
        part.mark("taken")
        wait(plan.stays)
        part.keep("during")
        part.mark("freed", "and frees it")
        part.tenant.release()
        wait(plan.after)
        part.keep("after")
        part.finish()
    return part.report(*_followed(part))


def until_little_is_left(bench: Bench) -> dict[str, Any]:
    """Part b: a neighbour takes a little memory at a time until almost nothing is left."""
    part, plan = Part(bench), bench.plan
    with closing(part), part.watch:
        part.warm_up()
        part.mark("takes", f"another process takes {_gib(plan.step)} at a time")
        least = _squeeze(part.tenant, plan)
        part.mark("taken", f"{_gib(least)} left")
        least = min(least, _squeeze_more(part.tenant, plan))
        part.keep("during")
        part.mark("freed", "it frees all")
        part.tenant.release()
        part.finish()
    wanted, little = f"<= {_gib(plan.leaves + plan.step)}", least <= plan.leaves + plan.step
    return part.report(Check(what="least memory that was left", wanted=wanted, seen=_gib(least), holds=little))


def _followed(part: Part) -> list[Check]:
    """Check that the slots followed the memory down and up."""
    before, during, after = (part.samples[name] for name in ("before", "during", "after"))
    shrinks = _ticks_until("shrink", part.watch.decided_since(part.moments["taken"]))
    grows = _ticks_until("grow", part.watch.decided_since(part.moments["freed"]))
    takes, back = part.plan.takes, (after.live or 0) >= 0.95 * (before.live or 0)
    return [
        Check(what="memory taken", wanted=_gib(takes), seen=_gib(during.tenant), holds=during.tenant == takes),
        Check(what="ticks until slots shrank", wanted="1 or 2", seen=_ticks(shrinks), holds=shrinks in (1, 2)),
        Check(what="ticks until they grew back", wanted="2 or 3", seen=_ticks(grows), holds=grows in (2, 3)),
        Check(what="slots after", wanted=f"{before.live}", seen=f"{after.live}", holds=back),
    ]


def _is_full(sample: Sample | None) -> bool:
    if sample is None or not sample.rows or not sample.wanted or not sample.live:
        return False
    have_slots = sample.live >= 0.95 * sample.wanted
    return have_slots and (sample.busy or 0) >= 0.9 * sample.live and sample.segments_done > 0


def _squeeze(tenant: Tenant, plan: Plan) -> int:
    """Allocate step by step until this little is left; return the least that was free."""
    while tenant.free > plan.leaves + _NEXT_TO_NOTHING:
        before = tenant.held
        tenant.take(min(plan.step, tenant.free - plan.leaves))
        if tenant.held == before:  # no room: fragments, or the engine was faster
            break
        wait(plan.step_seconds)
    return tenant.free


def _squeeze_more(tenant: Tenant, plan: Plan) -> int:
    """Keep allocating what the engine frees while the phase lasts; return the least that was free."""
    least = tenant.free
    for _ in range(int(plan.stays / plan.step_seconds)):
        wait(plan.step_seconds)
        tenant.take(0)
        least = min(least, _squeeze(tenant, plan))
    return least


def _ticks_until(action: str, decisions: list[SlotDecision]) -> int | None:
    """Return the number of the first tick that resized the pool in this direction, or None."""
    for number, one in enumerate(decisions, 1):
        if one.action == action and one.outcome == "resized":
            return number
    return None


def _fewer(before: Sample, during: Sample) -> Check:
    fewer = (during.live or 0) < (before.live or 0)
    return Check(what="slots before and during", wanted="fewer", seen=f"{before.live}, {during.live}", holds=fewer)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


def _ticks(number: int | None) -> str:
    return "never" if number is None else str(number)
