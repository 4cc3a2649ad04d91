"""The command line of an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from whisper_fleet.shared.settings import Settings
from whisper_fleet.workers.node.engine_command import engine_command


@pytest.mark.parametrize("reproducible", [False, True])
def test_an_engine_is_reproducible_if_the_fleet_is(reproducible: bool) -> None:
    command = engine_command(Settings(reproducible=reproducible), "cpu", Path("/run/engine.sock"))
    assert ("--reproducible" in command) is reproducible


@pytest.mark.parametrize("bit_exact_encoder", [False, True])
def test_an_engine_encodes_bit_for_bit_if_the_fleet_does(bit_exact_encoder: bool) -> None:
    command = engine_command(Settings(bit_exact_encoder=bit_exact_encoder), "cpu", Path("/run/engine.sock"))
    assert ("--bit-exact-encoder" in command) is bit_exact_encoder
