"""Capacity planning: its arithmetic, that it promises no more than was measured, and that its figures are written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from whisper_fleet.scheduler.capacity.catalogue import CARDS
from whisper_fleet.scheduler.capacity.planning import figures
from whisper_fleet.scheduler.capacity.planning.figures import Figure
from whisper_fleet.scheduler.capacity.planning.planner import Demand, Line, plan
from whisper_fleet.shared.errors import UnknownModel
from whisper_fleet.shared.models import MODELS

DOCS = Path(__file__).parents[4] / "docs"


def lines(slots: int = 256, form: str = "absorbed", **wanted: object) -> dict[str, Line]:
    demand = Demand(**{"hours_per_day": 5000.0, "model": "turbo", "card": "h100", **wanted})  # type: ignore[arg-type]
    return {line.name: line for line in plan(demand, slots=slots, form=form)}  # type: ignore[arg-type]


def test_gpus_are_those_that_finish_the_audio_in_time_at_the_planned_utilisation() -> None:
    speed = figures.SPEEDS["turbo"].value
    load = 2.5 * speed * 0.5 * 10  # two and a half GPUs for ten hours at half their speed
    found = lines(hours_per_day=load, within_hours=10.0, utilisation=0.5)
    assert found["GPUs"].value == 3
    assert found["busy"].value == pytest.approx(2.5 * 0.5 * 10 / 3)
    assert lines(hours_per_day=0.01)["GPUs"].value == 1


def test_hosts_are_as_many_as_gpus_or_cores_demand() -> None:
    by_gpus = lines(hours_per_day=1e6, gpus_per_host=4, cores_per_host=1000)
    assert by_gpus["hosts"].value == -(-by_gpus["GPUs"].value // 4)
    by_cores = lines(hours_per_day=1e6, gpus_per_host=1000, cores_per_host=4)
    assert by_cores["hosts"].value == -(-by_cores["cores"].value // 4)


def test_cores_grow_with_the_cost_of_the_format() -> None:
    cores = [lines(hours_per_day=1e5, media=media)["cores"].value for media in ("wav", "mp3", "opus")]
    assert cores == sorted(cores)
    assert cores[0] < cores[-1]


def test_the_spool_is_a_days_audio_up_to_its_limit() -> None:
    assert lines(hours_per_day=10.0)["spool"].value == 10 * 115_200_000
    assert lines(hours_per_day=1e6, spool_limit_bytes=7)["spool"].value == 7


def test_redis_holds_the_jobs_of_the_retention_time_twice() -> None:
    found = lines(hours_per_day=24.0, retention_days=2.0, file_minutes=30.0)["Redis"]
    assert found.value == 2 * (96 * figures.REDIS_PER_JOB.value + 48 * figures.REDIS_PER_HOUR.value)


def test_only_the_measured_card_and_model_count_as_measured() -> None:
    assert lines()["speed"].basis == "measured"
    for other in (lines(card="a100"), lines(slots=64), lines(form="cached"), lines(model="small")):
        assert other["speed"].basis == "scaled"


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("model", sorted(MODELS))
def test_no_card_and_no_model_is_promised_more_than_was_measured(card: str, model: str) -> None:
    speed = lines(card=card, model=model)["speed"]
    assert 0 < speed.value <= figures.SPEEDS[figures.NOT_FASTER.get(model, model)].value


def test_fewer_slots_and_cached_keys_are_slower() -> None:
    speeds = [lines(slots=slots)["speed"].value for slots in (1, 8, 64, 128, 256)]
    assert speeds == sorted(set(speeds))
    assert lines(form="cached")["speed"].value < lines()["speed"].value


def test_a_card_without_slots_has_no_plan() -> None:
    assert [
        line.value for line in plan(Demand(hours_per_day=1, model="large-v3", card="t4"), slots=0, form="cached")
    ] == [0.0]


def test_a_model_outside_the_catalogue_is_refused() -> None:
    with pytest.raises(UnknownModel):
        lines(model="/models/mine.pt")


def declared() -> Iterator[Figure]:
    """Yield every figure of the module, whatever holds it."""
    waiting = [value for name, value in vars(figures).items() if name.isupper()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Figure):
            yield value
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, tuple):
            waiting += value


@pytest.mark.parametrize("figure", list(declared()), ids=lambda figure: f"{figure.value:g}")
def test_every_figure_is_written_in_the_section_that_it_names(figure: Figure) -> None:
    page, _, anchor = figure.source.partition("#")
    written = re.findall(r"\d[\d,]*(?:\.\d+)?", section((DOCS / page).read_text(), anchor))
    assert figure.written in written, f"{figure.written} is not in {figure.source}"


def section(text: str, anchor: str) -> str:
    """Return the part of a page below the heading of this anchor, as far as the next heading."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    titles = [re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in parts[1::2]]
    return parts[2::2][titles.index(anchor)]
