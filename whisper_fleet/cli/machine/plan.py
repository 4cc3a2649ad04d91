"""`plan`: how many GPUs, hosts, cores, disk and memory a load needs, from measured figures.

It asks no fleet and no GPU. The figures and the arithmetic are in whisper_fleet.scheduler.capacity.planning.
"""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.text import Text

from whisper_fleet.cli.terminal.json_lines import json_option, print_line
from whisper_fleet.cli.terminal.printing import results_console
from whisper_fleet.scheduler.capacity.catalogue import CARDS, empty_card
from whisper_fleet.scheduler.capacity.devices import Devices, slots_of
from whisper_fleet.scheduler.capacity.planning.figures import DECODING
from whisper_fleet.scheduler.capacity.planning.planner import Demand, Line
from whisper_fleet.scheduler.capacity.planning.planner import plan as calculate
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.memory import ELEMENT_BYTES, form_of
from whisper_fleet.shared.settings import Settings

_AMPLE_MEMORY = 2**60
_ADDRESS = "docs/"


@click.command()
@click.option("--hours-per-day", type=click.FloatRange(min=0, min_open=True), required=True, help="Hours of audio.")
@click.option("--model", help="Model; left out, the default of the settings.")
@click.option("--gpu", type=click.Choice(CARDS, case_sensitive=False), required=True, help="Kind of the GPUs.")
@click.option("--within", type=click.FloatRange(0.1, 24), default=24.0, help="Hours of a day for it.")
@click.option("--utilisation", type=click.FloatRange(0.05, 1), default=0.7, help="Share of the speed to plan for.")
@click.option("--media", type=click.Choice(list(DECODING)), default="mp3", help="Format of the files.")
@click.option("--file-minutes", type=click.FloatRange(0.1), default=30.0, help="Average length of a file, minutes.")
@click.option("--gpus-per-host", type=click.IntRange(1), default=1, help="GPUs of a host.")
@click.option("--cores-per-host", type=click.IntRange(1), default=16, help="Physical cores of a host.")
@json_option
def plan(
    hours_per_day: float,
    model: str | None,
    gpu: str,
    within: float,
    utilisation: float,
    media: str,
    file_minutes: float,
    gpus_per_host: int,
    cores_per_host: int,
    as_json: bool,
) -> None:
    """Calculate what a load needs: GPUs, hosts, cores, disk and Redis.

    Every number comes with what it rests on: a measurement, a measurement scaled to another card or model, or
    arithmetic.
    """
    settings = local_settings()
    demand = Demand(
        hours_per_day=hours_per_day,
        model=model or settings.default_model,
        card=gpu.lower(),
        media=media,
        within_hours=within,
        utilisation=utilisation,
        file_minutes=file_minutes,
        retention_days=settings.job_retention / 86400,
        gpus_per_host=gpus_per_host,
        cores_per_host=cores_per_host,
        spool_limit_bytes=settings.spool_limit_bytes,
    )
    lines = calculate_for(demand, settings)
    if as_json:
        print_line({"demand": asdict(demand), "plan": [asdict(line) for line in lines]})
    else:
        _print(lines)


def calculate_for(demand: Demand, settings: Settings) -> list[Line]:
    """Return the plan for a demand; the slots of the card follow from its memory, as those of a live GPU do."""
    card = empty_card(demand.card)
    chosen = settings.model_copy(update={"default_model": demand.model, "default_precision": "float16"})
    share = max(1, demand.cores_per_host // demand.gpus_per_host)
    host = HostReading(total_bytes=_AMPLE_MEMORY, free_bytes=_AMPLE_MEMORY, cores=share)
    count = slots_of(card, Devices(gpus=(card,), device="cuda", host=host), None, chosen)
    form = form_of(settings.cross_attention, ELEMENT_BYTES["float16"], card.capability)
    return calculate(demand, slots=count.slots if count else 0, form=form)


def _print(lines: list[Line]) -> None:
    console = results_console()
    for line in lines:
        console.print(Text.assemble((f"{line.name:<8}", "bold"), line.text), soft_wrap=True)
        console.print(Text(f"{'':8}{line.basis}: {line.reason}", "dim"), soft_wrap=True)
        for source in line.sources:
            console.print(Text(f"{'':8}from {_named(source)}", "dim"), soft_wrap=True)


def _named(source: str) -> str:
    return f"{_ADDRESS}{source}" if ".md" in source else source
