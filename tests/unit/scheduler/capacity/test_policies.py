"""A slot policy is chosen by one setting, and a new one is one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.scheduler.capacity.policies import policy_of
from whisper_fleet.scheduler.capacity.slots import Budget
from whisper_fleet.shared.errors import BadSetting
from whisper_fleet.shared.memory import memory_of
from whisper_fleet.shared.models import MODELS
from whisper_fleet.shared.settings import Settings

GIB = 2**30
BUDGET = Budget(
    device="cuda",
    total_bytes=24 * GIB,
    free_bytes=23 * GIB,
    engine_bytes=None,
    host_free_bytes=256 * GIB,
    cores=1,
)
MEMORY = memory_of(MODELS["large-v3"], "float16", device="cuda", segment_duration=300)


def slots(policy: str) -> int:
    return policy_of(Settings(slot_policy=policy)).count(BUDGET, MEMORY).slots


def test_the_default_counts_memory_and_cores() -> None:
    assert slots("memory") == slots(Settings().slot_policy) == 32


def test_a_fixed_policy_has_its_number_of_slots_if_the_memory_allows_it() -> None:
    assert slots("fixed:8") == 8
    assert slots("fixed:40") == 40, "more than the cores would allow"
    assert (
        slots("fixed:500")
        == policy_of(Settings(slots_per_core=500, max_concurrent_limit=500)).count(BUDGET, MEMORY).slots
    )


def test_a_module_of_ones_own_is_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleet_policies").mkdir()
    (tmp_path / "fleet_policies" / "half.py").write_text(
        "from whisper_fleet.scheduler.capacity.policies.memory import MemoryPolicy\n"
        "from whisper_fleet.scheduler.capacity.slots import SlotCount, SlotLimits\n"
        "class Half(MemoryPolicy):\n"
        "    def count(self, budget, memory):\n"
        "        count = super().count(budget, memory)\n"
        "        return SlotCount(slots=count.slots // 2, reason='half of: ' + count.reason)\n"
        "def make(settings, argument):\n"
        "    return Half(SlotLimits.of(settings))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert slots("fleet_policies.half") == 16


@pytest.mark.parametrize("policy", ["fixed", "fixed:0", "fixed:many", "memory:8", "nonsense", "no.such.module"])
def test_a_policy_that_cannot_be_made_is_a_bad_setting(policy: str) -> None:
    with pytest.raises(BadSetting, match="WHISPER_FLEET_SLOT_POLICY"):
        policy_of(Settings(slot_policy=policy))
