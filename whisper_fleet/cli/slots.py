"""`slots`: how many slots each GPU of this machine has and why, or how many a GPU of some size would have."""

from __future__ import annotations

from typing import get_args

import click

from whisper_fleet.cli.doctor import Finding, device_findings, report
from whisper_fleet.deploy.processes.state_dir import use_embedded_redis
from whisper_fleet.scheduler.capacity.slots import Budget, SlotLimits, count_slots
from whisper_fleet.shared.memory import ELEMENT_BYTES, form_of, memory_of
from whisper_fleet.shared.models import Precision, resolve
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import parse_bytes

#: A machine that is only thought of shall not be short of these.
_MANY_CORES = 1024


@click.command()
@click.option("--model", help="For this model instead of the default.")
@click.option("--precision", type=click.Choice(get_args(Precision)), help="For this precision instead.")
@click.option("--memory", metavar="SIZE", help="For an empty GPU of this size, such as 24GiB.")
def slots(model: str | None, precision: Precision | None, memory: str | None) -> None:
    """Tell how many slots each GPU of this machine has, and why."""
    settings = use_embedded_redis()
    chosen = {"default_model": model, "default_precision": precision}
    settings = settings.model_copy(update={name: value for name, value in chosen.items() if value})
    if memory is None:
        report(device_findings(settings))
    else:
        report([_of_empty_gpu(_size(memory), settings)])


def _of_empty_gpu(total_bytes: int, settings: Settings) -> Finding:
    needed = memory_of(
        resolve(settings.default_model, settings.models),
        settings.default_precision,
        device="cuda",
        segment_duration=settings.segment_duration,
        form=form_of(settings.cross_attention, ELEMENT_BYTES[settings.default_precision], None),
    )
    budget = Budget(
        device="cuda",
        total_bytes=total_bytes,
        free_bytes=total_bytes,
        engine_bytes=None,
        host_free_bytes=None,
        cores=_MANY_CORES,
    )
    count = count_slots(budget, needed, SlotLimits.of(settings))
    return Finding("good" if count.slots else "bad", f"{settings.default_model}: {count.reason}")


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from None
