"""NVML readings through the real pynvml: whatever happens on the host, a tick gets values with reasons."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pynvml
import pytest

from tests.support.nvml_stub import GIB, Gpu, ReplacedLibrary, Scenario, build, write_scenario
from whisper_fleet.scheduler.capacity.nvml import read_gpus

Tell = Callable[[Scenario], None]

FIRST = Gpu(uuid="GPU-aaaa-1")
SECOND = Gpu(uuid="GPU-bbbb-2", name="NVIDIA-L4", total=22 * GIB, free=10 * GIB, capability=(8, 9))
TWO_CARDS = Scenario(gpus=(FIRST, SECOND))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(params=["built", "replaced"])
def nvml(
    request: pytest.FixtureRequest, library: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tell]:
    """Tells pynvml a scenario, from a library built by a C compiler and by functions in its place."""
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setitem(os.environ, "NVML_STUB", "")
    if request.param == "replaced":
        replaced = ReplacedLibrary()
        monkeypatch.setattr(pynvml, "nvmlLib", replaced)
        yield lambda scenario: setattr(replaced, "scenario", scenario)
        return
    if library is None:
        pytest.skip("no C compiler here; the same scenarios run with replaced functions")
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    yield lambda scenario: write_scenario(scenario, tmp_path)


def test_two_idle_cards_are_read_whole(nvml: Tell) -> None:
    nvml(TWO_CARDS)
    reading = read_gpus()
    assert (reading.driver, reading.problem) == ("580.65.06", None)
    first, second = reading.gpus
    assert (first.index, first.uuid, first.name) == (0, "GPU-aaaa-1", "NVIDIA-H200")
    assert (second.total_bytes, second.free_bytes, second.used_bytes) == (22 * GIB, 10 * GIB, 12 * GIB)
    assert (first.utilisation, first.temperature, first.processes) == (0.12, 41, ())
    assert (first.capability, second.capability) == ((9, 0), (8, 9))
    assert (first.problem, second.problem) == (None, None)


def test_a_growing_co_tenant_is_seen_by_the_next_reading(nvml: Tell) -> None:
    ours, theirs = (4242, 4 * GIB), (7, 2 * GIB)
    nvml(Scenario(gpus=(replace(FIRST, free=18 * GIB, processes=(ours, theirs)),)))
    before = read_gpus().gpus[0]
    nvml(Scenario(gpus=(replace(FIRST, free=8 * GIB, processes=(ours, (7, 12 * GIB))),)))
    after = read_gpus().gpus[0]
    assert (before.free_bytes, after.free_bytes) == (18 * GIB, 8 * GIB)
    assert before.used_by(4242) == after.used_by(4242) == 4 * GIB
    assert after.used_by(7) == 12 * GIB
    assert after.used_by(99) is None


@pytest.mark.parametrize("where", ["lost", "memory_error"])
def test_a_lost_gpu_does_not_hide_the_other(nvml: Tell, where: str) -> None:
    lost = Gpu(uuid="GPU-aaaa-1", **{where: pynvml.NVML_ERROR_GPU_IS_LOST})
    nvml(Scenario(gpus=(lost, SECOND)))
    first, second = read_gpus().gpus
    assert first.problem is not None
    assert first.problem.startswith("the GPU has fallen off the bus")
    assert (first.total_bytes, first.free_bytes, first.used_bytes) == (None, None, None)
    assert (second.problem, second.free_bytes) == (None, 10 * GIB)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "updated but not reloaded"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "no permission"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML says: Unknown Error"),
    ],
)
def test_nvml_that_does_not_start_is_a_reason(nvml: Tell, error: int, words: str) -> None:
    nvml(Scenario(gpus=(FIRST,), init_error=error))
    reading = read_gpus()
    assert (reading.gpus, reading.driver) == ((), None)
    assert reading.problem is not None
    assert words in reading.problem


def test_a_process_finds_the_library_as_it_finds_the_drivers(
    library: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "NVML_STUB", "")
    if library is None:
        pytest.skip("no C compiler here")
    write_scenario(TWO_CARDS, tmp_path)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "CUDA_VISIBLE_DEVICES": "1"}
    code = (
        "from whisper_fleet.scheduler.capacity.devices import read_devices;"
        "from whisper_fleet.shared.settings import Settings;"
        "found = read_devices(Settings());"
        "print(found.device, found.driver, [gpu.uuid for gpu in found.gpus])"
    )
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert answer.stdout.decode() == "cuda 580.65.06 ['GPU-bbbb-2']\n"


def test_a_missing_driver_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", fail)
    assert read_gpus().problem == "no NVIDIA driver is installed (libnvidia-ml.so.1 is missing)"


def test_hidden_processes_are_unknown_and_not_none_at_all(nvml: Tell) -> None:
    nvml(Scenario(gpus=(replace(FIRST, processes_error=pynvml.NVML_ERROR_NO_PERMISSION),)))
    gpu = read_gpus().gpus[0]
    assert gpu.processes is None
    assert gpu.used_by(4242) is None
    assert gpu.free_bytes == 23 * GIB


def test_a_process_whose_memory_is_hidden_is_unknown(nvml: Tell) -> None:
    hidden = pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value
    nvml(Scenario(gpus=(replace(FIRST, processes=((4242, hidden),)),)))
    gpu = read_gpus().gpus[0]
    assert gpu.processes is not None
    assert gpu.used_by(4242) is None


def test_what_a_gpu_does_not_tell_is_none_and_never_zero(nvml: Tell) -> None:
    nvml(Scenario(gpus=(replace(FIRST, optional_error=pynvml.NVML_ERROR_NOT_SUPPORTED),)))
    gpu = read_gpus().gpus[0]
    assert (gpu.name, gpu.capability, gpu.utilisation, gpu.temperature) == (None, None, None, None)
    assert gpu.problem is None
    assert gpu.free_bytes == 23 * GIB


def test_a_gpu_with_mig_on_says_so(nvml: Tell) -> None:
    nvml(Scenario(gpus=(replace(FIRST, mig=1), SECOND)))
    first, second = read_gpus().gpus
    assert first.problem is not None
    assert first.problem.startswith("MIG is on")
    assert second.problem is None


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1]),
        ("1", [1]),
        ("1,0", [0, 1]),
        ("GPU-bbbb", [1]),
        ("0,7,1", [0]),
        ("", []),
        ("-1", []),
        ("MIG-GPU-aaaa/1/0", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(nvml: Tell, visible: str | None, indices: list[int]) -> None:
    nvml(TWO_CARDS)
    assert [gpu.index for gpu in read_gpus(visible=visible).gpus] == indices


@pytest.mark.parametrize("exclude", ["0", "GPU-aaaa-1"])
def test_excluded_gpus_are_left_out(nvml: Tell, exclude: str) -> None:
    nvml(TWO_CARDS)
    assert [gpu.index for gpu in read_gpus(exclude=(exclude,)).gpus] == [1]
