"""What a host can compute on, and the slots that its devices should have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.gpu_status import gpu_status
from whisper_fleet.scheduler.capacity import devices
from whisper_fleet.scheduler.capacity.devices import (
    Devices,
    budget_of,
    engine_bytes,
    problem_of,
    read_devices,
    slots_of,
)
from whisper_fleet.scheduler.capacity.nvml import GpuReading, NvmlReading, ProcessMemory
from whisper_fleet.shared.host import HostReading
from whisper_fleet.shared.memory import CUDA_CONTEXT_BYTES, memory_of
from whisper_fleet.shared.models import MODELS
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus

GIB = 2**30
HOST = HostReading(total_bytes=64 * GIB, free_bytes=48 * GIB, cores=8)
CARD = GpuReading(index=0, uuid="GPU-0", name="L4", total_bytes=24 * GIB, free_bytes=20 * GIB)
SETTINGS = Settings()


def status(**changes: Any) -> GpuStatus:
    return gpu_status("h", **({"uuid": CARD.uuid} | changes))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    def host_with(reading: NvmlReading, settings: Settings = SETTINGS) -> Devices:
        monkeypatch.setattr(devices, "read_host", lambda: HOST)
        monkeypatch.setattr(devices, "read_gpus", lambda **_: reading)
        return read_devices(settings)

    return host_with


def test_a_host_with_gpus_uses_them(on: Any) -> None:
    found = on(NvmlReading(gpus=(CARD,), driver="580"))
    assert (found.device, found.gpus, found.problem) == ("cuda", (CARD,), None)


def test_a_host_without_gpus_is_one_cpu_and_says_why(on: Any) -> None:
    found = on(NvmlReading(problem="no NVIDIA driver is installed"))
    (cpu,) = found.gpus
    assert (found.device, cpu.uuid, cpu.index, cpu.free_bytes) == ("cpu", "cpu", 0, 48 * GIB)
    assert found.problem == "no NVIDIA driver is installed"


def test_a_host_that_is_told_to_compute_on_its_cpu_does(on: Any) -> None:
    found = on(NvmlReading(gpus=(CARD,), driver="580"), Settings(device="cpu"))
    assert (found.device, found.problem) == ("cpu", "the settings ask for the CPU")


def test_hidden_gpus_leave_the_cpu(on: Any) -> None:
    assert on(NvmlReading(driver="580")).problem == "the driver shows no GPU, or the settings hide all"


def test_a_lost_gpu_is_still_the_hosts_and_does_not_become_a_cpu(on: Any) -> None:
    lost = GpuReading(index=0, problem="the GPU has fallen off the bus")
    found = on(NvmlReading(gpus=(lost,), driver="580"))
    assert found.device == "cuda"
    assert slots_of(lost, found, None, SETTINGS) is None


def test_a_gpu_node_is_not_sized_as_a_cpu_while_nvml_does_not_answer(on: Any) -> None:
    mismatch = "the NVIDIA driver was updated but not reloaded: reboot"
    found = on(NvmlReading(problem=mismatch))
    (cpu,) = found.gpus
    assert slots_of(cpu, found, status(device="cuda"), SETTINGS) is None
    assert problem_of(cpu, found, status(device="cuda")) == f"its node computes on cuda, but: {mismatch}"
    assert slots_of(cpu, found, status(device="cpu"), SETTINGS) is not None

    cards = on(NvmlReading(gpus=(CARD,), driver="580"))
    assert slots_of(CARD, cards, status(device="cpu"), SETTINGS) is None
    assert problem_of(CARD, cards, status(device="cpu")) == "its node computes on cpu, but: the driver shows a GPU"


def test_gpus_share_the_hosts_memory_and_cores() -> None:
    pair = Devices(gpus=(CARD, replace(CARD, index=1)), device="cuda", host=HOST)
    memory = memory_of(MODELS["base"], "float16", device="cuda", segment_duration=300)
    budget = budget_of(CARD, pair, status(busy=3), memory)
    assert budget.cores == 4
    assert budget.host_free_bytes == 24 * GIB + 3 * memory.host


def test_slots_are_counted_for_what_is_loaded_else_for_the_default_model() -> None:
    alone = Devices(gpus=(CARD,), device="cuda", host=HOST)
    settings = Settings(default_model="tiny", max_concurrent_limit=500, slots_per_core=100)
    unloaded = slots_of(CARD, alone, status(), settings)
    large = slots_of(CARD, alone, status(models=("large-v3/float16",)), settings)
    both = slots_of(CARD, alone, status(models=("large-v3/float16", "medium/float16")), settings)
    odd = slots_of(CARD, alone, status(models=("gone.pt/float16", "nonsense")), settings)
    assert unloaded is not None
    assert large is not None
    assert both is not None
    assert unloaded.slots > large.slots > both.slots > 0
    assert odd == unloaded
    known = status(models=("/models/gone.pt/float16",), dims={"/models/gone.pt": MODELS["large-v3"]})
    assert slots_of(CARD, alone, known, settings) == large


def test_a_gpu_that_absorbs_cross_attention_has_more_slots() -> None:
    settings = Settings(default_model="large-v3", max_concurrent_limit=500, slots_per_core=100)

    def slots(capability: tuple[int, int] | None, settings: Settings) -> tuple[int, str]:
        card = replace(CARD, capability=capability)
        count = slots_of(card, Devices(gpus=(card,), device="cuda", host=HOST), None, settings)
        assert count is not None
        return count.slots, count.reason

    hopper, ada, unknown = (slots(capability, settings) for capability in ((9, 0), (8, 9), None))
    assert ada == unknown
    assert hopper[0] > 3 * ada[0]
    assert "(absorbed cross-attention)" in hopper[1]
    assert "(cached cross-attention)" in ada[1]
    assert slots((9, 0), settings.model_copy(update={"cross_attention": "cached"})) == ada


def test_what_the_engine_says_of_its_form_counts_more_than_its_gpu() -> None:
    hopper, settings = replace(CARD, capability=(9, 0)), Settings(default_model="large-v3")

    def form(settings: Settings, **told: Any) -> str:
        count = slots_of(hopper, Devices(gpus=(hopper,), device="cuda", host=HOST), status(**told), settings)
        assert count is not None
        return count.reason.partition(" cross-attention")[0].rpartition("(")[2]

    assert form(settings) == "absorbed"
    assert form(settings, forms={"float16": "cached"}) == "cached", "its Python has no Triton"
    assert form(settings, forms={"float16": "cached"}, models=("turbo/bfloat16",)) == "absorbed"
    cached = settings.model_copy(update={"cross_attention": "cached"})
    assert form(cached, forms={"float16": "absorbed"}) == "absorbed", "its machine has other settings"


@pytest.mark.parametrize(
    ("processes", "pid", "own", "held"),
    [
        (((7, 5 * GIB),), 7, None, 5 * GIB),
        (((7, 5 * GIB),), 7, 5 * GIB - CUDA_CONTEXT_BYTES, 5 * GIB),
        (((7, 15 * GIB),), 7, 5 * GIB, 5 * GIB),  # another tenant's process that has our number inside
        (((7, 1 * GIB),), 7, 5 * GIB, 5 * GIB),
        ((), 7, 5 * GIB, 5 * GIB),
        (None, 7, 5 * GIB, 5 * GIB),
        (((7, None),), 7, 5 * GIB, 5 * GIB),
        (None, None, None, None),
    ],
)
def test_what_our_engine_holds_is_nvmls_account_where_it_can_be_believed(
    processes: tuple[tuple[int, int | None], ...] | None, pid: int | None, own: int | None, held: int | None
) -> None:
    listed = None
    if processes is not None:
        listed = tuple(ProcessMemory(pid=number, used_bytes=used) for number, used in processes)
    reading = replace(CARD, processes=listed)
    assert engine_bytes(reading, status(engine_pid=pid, engine_bytes=own)) == held
