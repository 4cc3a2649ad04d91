"""`plan` names the source of every number, in words and as JSON."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from whisper_fleet.cli.machine.plan import plan

LOAD = ("--hours-per-day", "5000", "--model", "turbo", "--gpu", "H100")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(plan, arguments, env={"WHISPER_FLEET_REDIS_URL": "redis://127.0.0.1:1/0"})


def values(*arguments: str) -> dict[str, Any]:
    return {line["name"]: line for line in json.loads(call(*arguments, "--json").output)["plan"]}


def test_a_plan_needs_no_fleet_and_names_its_sources() -> None:
    result = call(*LOAD)
    assert result.exit_code == 0, result.output
    assert "docs/benchmarks/engine.md" in result.output
    assert [line.split()[0] for line in result.output.splitlines() if not line.startswith(" ")] == [
        *("speed", "GPUs", "busy", "cores", "hosts", "spool", "Redis"),
    ]


def test_the_plan_follows_the_card_its_slots_and_the_time() -> None:
    day, night = values(*LOAD), values(*LOAD, "--within", "1")
    assert day["GPUs"]["value"] == 1 < night["GPUs"]["value"]
    small = values("--hours-per-day", "5000", "--model", "large-v3", "--gpu", "t4")
    assert "slots instead of 256" in small["speed"]["reason"]
    assert small["GPUs"]["value"] > day["GPUs"]["value"]


def test_a_host_with_few_cores_has_fewer_slots() -> None:
    assert "instead of 256" in values(*LOAD, "--cores-per-host", "2")["speed"]["reason"]


def test_a_load_must_be_positive() -> None:
    assert call("--hours-per-day", "0", "--gpu", "h100").exit_code == 2
