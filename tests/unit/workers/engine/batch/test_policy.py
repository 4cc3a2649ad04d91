"""One policy decides which sizes a batch is computed in."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.memory import ENCODER_ROWS
from whisper_fleet.workers.engine.batch.policy import CPU_POLICY, GPU_POLICY, policy_of


@pytest.mark.parametrize(
    ("tokens", "expected"), [(1, 4), (4, 4), (5, 8), (9, 32), (32, 32), (65, 128), (227, 232), (233, 448)]
)
def test_prompts_of_one_class_are_padded_to_one_length(tokens: int, expected: int) -> None:
    assert GPU_POLICY.prompt_class(tokens) == GPU_POLICY.padded_prompt(tokens) == expected


def test_a_gpu_computes_few_sizes() -> None:
    assert [GPU_POLICY.encode_bucket(windows) for windows in (1, 3, 13, ENCODER_ROWS)] == [1, 4, 18, 18]
    assert [GPU_POLICY.row_bucket(rows) for rows in (1, 9, 65, 512)] == [1, 16, 96, 512]
    assert [GPU_POLICY.padded_prompt(tokens) for tokens in (3, 5, 227, 448)] == [4, 8, 232, 448]


def test_a_cpu_pads_no_prompt_and_reads_them_one_by_one() -> None:
    assert CPU_POLICY.padded_prompt(5) == 5
    assert CPU_POLICY.prompt_groups("ab") == [["a"], ["b"]]
    assert CPU_POLICY.step_groups("ab") == [["a", "b"]]
    assert CPU_POLICY.step_groups("") == []


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_reproducible_windows_are_computed_alone_in_one_size(device: str) -> None:
    policy = policy_of(device, reproducible=True)
    for groups in (policy.encode_groups, policy.prompt_groups, policy.step_groups):
        assert groups("ab") == [["a"], ["b"]]
    assert {policy.row_bucket(rows) for rows in (1, 100, 512)} == {512}
