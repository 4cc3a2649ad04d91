"""`slots`: how many slots each GPU of this machine has and why, or how many another GPU would have."""

from __future__ import annotations

from typing import get_args

import click

from whisper_fleet.cli.machine.doctor import device_findings
from whisper_fleet.cli.terminal.json_lines import json_option
from whisper_fleet.cli.terminal.printing import Finding, print_findings
from whisper_fleet.scheduler.capacity.catalogue import CARDS, empty_card
from whisper_fleet.scheduler.capacity.devices import Devices, slots_of
from whisper_fleet.scheduler.capacity.nvml import GpuReading
from whisper_fleet.shared.embedded_redis import local_settings
from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.models import Precision
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.units import parse_bytes

#: The host of a hypothetical GPU: neither its memory nor its cores limit the slots.
_AMPLE_HOST = HostReading(total_bytes=2**60, free_bytes=2**60, cores=1024)


@click.command()
@click.option("--model", help="For this model instead of the default.")
@click.option("--precision", type=click.Choice(get_args(Precision)), help="For this precision instead.")
@click.option("--gpu", type=click.Choice(CARDS, case_sensitive=False), help="For an empty GPU of this kind.")
@click.option("--memory", metavar="SIZE", help="For an empty GPU of this size, such as 24GiB, of an unknown kind.")
@json_option
def slots(model: str | None, precision: Precision | None, gpu: str | None, memory: str | None, as_json: bool) -> None:
    """Show how many slots each GPU of this machine has, and why."""
    settings = local_settings()
    chosen = {"default_model": model, "default_precision": precision}
    settings = settings.model_copy(update={name: value for name, value in chosen.items() if value})
    if gpu is not None and memory is not None:
        raise click.UsageError("--gpu and --memory exclude each other: name a kind, or a size.")
    if gpu is not None:
        findings = [_empty_gpu(empty_card(gpu), settings)]
    elif memory is not None:
        size = _size(memory)
        findings = [_empty_gpu(GpuReading(index=0, total_bytes=size, free_bytes=size), settings)]
    else:
        findings = list(device_findings(settings))
    print_findings(findings, as_json=as_json)


def _empty_gpu(gpu: GpuReading, settings: Settings) -> Finding:
    """Count the slots of an empty GPU, on a host whose memory and cores are no limit."""
    count = slots_of(gpu, Devices(gpus=(gpu,), device="cuda", host=_AMPLE_HOST), None, settings)
    if count is None:
        raise RuntimeError("a GPU without a problem has a count")
    return Finding("good" if count.slots else "bad", f"{settings.default_model}: {count.reason}")


def _size(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from None
