"""A linear map gives the same result for packed and plain weights, and for any number of rows."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import missing
from whisper_fleet.workers.engine.model.linear import Linear, can_pack, packed


@pytest.mark.parametrize("rows", [1, 2, 8, 9, 227, 1500])
@torch.inference_mode()
def test_packed_weights_multiply_as_plain_ones_do(rows: int) -> None:
    if not can_pack():
        missing("an x86 CPU and oneDNN")
    weight, bias, x = torch.randn(192, 64), torch.randn(192), torch.randn(rows, 64)
    expected = (x.double() @ weight.double().T + bias.double()).float()
    for linear in (Linear(weight, bias), Linear(packed(weight), bias)):
        torch.testing.assert_close(linear(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(linear(x[None]), expected[None], rtol=1e-5, atol=1e-5)
