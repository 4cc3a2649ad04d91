"""`slots` answers for GPUs that one does not have."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from whisper_fleet.cli.machine.slots import slots
from whisper_fleet.scheduler.capacity.catalogue import CARDS


def answer(*arguments: str) -> str:
    result = CliRunner().invoke(slots, [*arguments], env={"WHISPER_FLEET_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert result.exit_code == 0, result.output
    return result.output


def count(output: str) -> int:
    found = re.search(r"(\d+) slots?:", output)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("card", CARDS)
def test_every_card_of_the_catalogue_runs_base_with_a_full_batch(card: str) -> None:
    assert count(answer("--gpu", card, "--model", "base")) == 256


def test_the_form_of_cross_attention_is_that_of_the_card() -> None:
    assert "absorbed" in answer("--gpu", "H100", "--model", "large-v3")
    assert "absorbed" in answer("--gpu", "b200", "--model", "large-v3")
    for cached in ("t4", "l4", "a10", "l40s", "a100", "4090", "5090"):  # 12.0 has too little shared memory
        assert "cached" in answer("--gpu", cached, "--model", "large-v3")
    assert "cached" in answer("--gpu", "h100", "--model", "large-v3", "--precision", "float32")


def test_larger_cards_have_more_slots_for_a_large_model() -> None:
    by_size = [count(answer("--gpu", card, "--model", "large-v3")) for card in ("t4", "l4", "l40s", "a100", "h100")]
    assert by_size == sorted(by_size)
    assert 0 < by_size[0] < by_size[-1] == 256


def test_a_kind_and_a_size_exclude_each_other() -> None:
    result = CliRunner().invoke(slots, ["--gpu", "t4", "--memory", "24GiB"])
    assert result.exit_code == 2
    assert "exclude each other" in result.output
