"""The host is read as large as this process may use it, container limits included."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from whisper_fleet.shared.host import read_host

GIB = 2**30


def cgroup(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name.replace("_", ".")).write_text(text)
    return directory


def test_a_machine_without_limits_is_read_whole(tmp_path: Path) -> None:
    host = read_host(cgroup(tmp_path, memory_max="max\n", cpu_max="max 100000\n"))
    assert host.total_bytes == psutil.virtual_memory().total
    assert 0 < host.free_bytes <= host.total_bytes
    assert 1 <= host.cores <= (psutil.cpu_count() or 1)


def test_a_containers_memory_is_its_limit_less_what_cannot_be_given_back(tmp_path: Path) -> None:
    stat = f"anon 1\ninactive_file {GIB // 4}\nactive_file 7\n"
    limits = cgroup(tmp_path, memory_max=f"{GIB}\n", memory_current=f"{GIB // 2}\n", memory_stat=stat)
    host = read_host(limits)
    assert (host.total_bytes, host.free_bytes) == (GIB, GIB * 3 // 4)


@pytest.mark.parametrize("quota", ["100000 100000", "150000 100000", "50000 100000"])
def test_a_quota_of_less_than_two_cores_is_one_core(tmp_path: Path, quota: str) -> None:
    assert read_host(cgroup(tmp_path, cpu_max=quota)).cores == 1


@pytest.mark.parametrize("nonsense", ["", "many", "1 2 3"])
def test_files_that_say_nothing_are_no_limit(tmp_path: Path, nonsense: str) -> None:
    limits = cgroup(tmp_path, memory_max=nonsense, memory_current=nonsense, cpu_max=nonsense)
    assert read_host(limits).total_bytes == psutil.virtual_memory().total
