"""The dispatcher on fakes: what it sends, what it leaves, how long it gathers, and that it needs neither Redis nor
Celery."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.demands import status
from whisper_fleet.scheduler import dispatch
from whisper_fleet.scheduler.dispatch.dispatcher import Dispatcher
from whisper_fleet.shared.models import MODELS
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import Assignment, GpuStatus, Lane, Need, WaitingJob

NOW = 1000.0


def lane(segments: int, *, model: str = "base", gpu_ids: tuple[str, ...] = ()) -> Lane:
    need = Need(model_name=model, precision="float16", segment_duration=300, gpu_ids=gpu_ids)
    job = WaitingJob(job=f"job-{model}", accepted=0, served=0, seconds=300, segments=tuple(range(segments)))
    return Lane(id=model, priority=5, tenant="", need=need, since=NOW, tenant_served=0, jobs=(job,))


class FakeFleet:
    """The world around a dispatcher, in memory: ledger, registry, messages and reason board."""

    def __init__(self, *lanes: Lane, gpus: Sequence[GpuStatus] = (), taken_by_others: int = 0) -> None:
        self._lanes = list(lanes)
        self._gpus = list(gpus)
        self._taken_by_others = taken_by_others
        self.calls: list[tuple[str, int]] = []
        self.sent: list[Assignment] = []
        self.shown: list[tuple[str, str | None]] = []
        self._reasons: dict[str, str] = {}

    def lanes(self, heads: int) -> list[Lane]:
        self.calls.append(("lanes", heads))
        return self._lanes

    def loads(self, gpus: Sequence[str]) -> list[int]:
        return [sum(one.gpu == gpu for one in self.sent) for gpu in gpus]

    def assign(self, assignments: Sequence[Assignment], deadline: float, now: float) -> list[bool]:
        assert deadline > now
        return [number >= self._taken_by_others for number in range(len(assignments))]

    def gpus(self, now: float, timeout: float) -> list[GpuStatus]:
        return self._gpus

    def accept_wakeups(self) -> None:
        self.calls.append(("accept wake-ups", 0))

    def send(self, assignments: Sequence[Assignment]) -> None:
        self.sent += assignments

    def replace(self, lane: str, reason: str, seconds: int) -> bool:
        is_new, self._reasons[lane] = self._reasons.get(lane) != reason, reason
        return is_new

    def shown_lanes(self) -> set[str]:
        return set(self._reasons)

    def withdraw(self, lane: str) -> bool:
        return self._reasons.pop(lane, None) is not None

    def show(self, job: str, reason: str | None, now: float) -> None:
        self.shown.append((job, reason))


def dispatcher(fleet: FakeFleet, sleeps: list[float] | None = None, settings: Settings | None = None) -> Dispatcher:
    return Dispatcher(
        settings or Settings(),
        backlog=fleet,
        registry=fleet,
        messages=fleet,
        board=fleet,
        clock=lambda: NOW,
        sleep=(sleeps if sleeps is not None else []).append,
    )


def test_it_sends_segments_until_every_slot_is_taken() -> None:
    fleet = FakeFleet(lane(9), gpus=[status("a"), status("b")])
    assert dispatcher(fleet).dispatch() == 8
    assert [one.segment for one in fleet.sent] == list(range(8))
    assert {one.gpu for one in fleet.sent} == {"a.0", "b.0"}
    assert len({one.token for one in fleet.sent}) == 8
    assert fleet.calls == [("accept wake-ups", 0), ("lanes", 8)], "in this order, and no more heads than free slots"


def test_it_does_not_send_what_another_dispatcher_was_faster_to_assign() -> None:
    fleet = FakeFleet(lane(3), gpus=[status("a")], taken_by_others=2)
    assert dispatcher(fleet).dispatch() == 1
    assert [one.segment for one in fleet.sent] == [2]


def test_it_reads_no_lane_while_every_slot_is_taken() -> None:
    fleet = FakeFleet(lane(9), gpus=[status("a")])
    assert dispatcher(fleet).dispatch() == 4
    fleet.calls.clear()
    assert dispatcher(fleet).dispatch() == 0
    assert fleet.calls == [("accept wake-ups", 0)]


def test_a_new_reason_to_wait_is_shown_once() -> None:
    fleet = FakeFleet(lane(1, gpu_ids=("7",)), gpus=[status("a")])
    for _ in range(2):
        assert dispatcher(fleet).dispatch() == 0
    assert fleet.shown == [("job-base", "no GPU that is up matches gpu_ids ['7']")]


@pytest.mark.parametrize("segments", [1, 9])
def test_a_reason_is_withdrawn_when_a_gpu_is_back_even_one_that_is_full_at_once(segments: int) -> None:
    fleet = FakeFleet(lane(segments))
    dispatcher(fleet).dispatch()
    fleet._gpus.append(status("a"))
    for _ in range(2):
        dispatcher(fleet).dispatch()
    assert fleet.shown == [("job-base", "no GPU is up: start one, or wait until one is back"), ("job-base", None)]


def test_a_busy_fleet_is_no_reason_to_show() -> None:
    fleet = FakeFleet(lane(9), gpus=[status("a")])
    dispatcher(fleet).dispatch()
    assert fleet.shown == []


def test_a_checkpoint_that_disappeared_is_a_reason_to_wait(tmp_path: Path) -> None:
    fleet = FakeFleet(lane(1, model=str(tmp_path / "gone.pt")), lane(1), gpus=[status("a")])
    assert dispatcher(fleet).dispatch() == 1
    ((_, reason),) = fleet.shown
    assert reason is not None and "gone.pt" in reason


def test_a_checkpoint_whose_dimensions_intake_entered_is_not_opened(tmp_path: Path) -> None:
    own = str(tmp_path / "gone.pt")
    waiting = lane(1, model=own)
    known = waiting.model_copy(update={"need": waiting.need.model_copy(update={"dims": MODELS["base"]})})
    fleet = FakeFleet(known, gpus=[status("a")])
    assert dispatcher(fleet).dispatch() == 1
    assert [one.job for one in fleet.sent] == [f"job-{own}"]


def test_nothing_in_dispatch_opens_a_file() -> None:
    code = "".join(path.read_text() for path in Path(dispatch.__file__).parent.glob("*.py"))
    assert not re.search(r"\b(open|Path|pathlib|shared\.files|zipfile)\b", code)


def test_it_gathers_for_as_long_as_the_last_pass_took_and_no_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleeps: list[float] = []
    passes = dispatcher(FakeFleet(gpus=[status("a")]), sleeps)
    readings = iter([0.0, 0.004, 1.0, 9.0, 10.0, 10.0])
    monkeypatch.setattr("whisper_fleet.scheduler.dispatch.dispatcher.time.perf_counter", lambda: next(readings))
    for _ in range(3):
        passes.gather_and_dispatch()
    assert sleeps == [0.0, 0.004, 0.02]


def test_dispatch_needs_neither_redis_nor_celery_nor_torch() -> None:
    folder = Path(dispatch.__file__).parent
    modules = [f"{dispatch.__name__}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
    assert f"{dispatch.__name__}.dispatcher" in modules
    code = (
        f"import sys, {', '.join(modules)};"
        "print([name for name in ('redis', 'celery', 'kombu', 'torch', 'whisper') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
