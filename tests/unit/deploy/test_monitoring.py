"""Alert rules and dashboards: each alert fires and clears, and every query asks for metrics that the fleet has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from tests.conftest import missing
from tests.unit.scheduler.monitoring.test_metrics import FIGURES
from whisper_fleet.deploy.monitoring.__main__ import FOLDER, rendered
from whisper_fleet.deploy.monitoring.dashboards import DASHBOARDS
from whisper_fleet.scheduler.monitoring.metrics import FleetMetrics, declared_metrics

MONITORING = FOLDER.parents[1]


def promtool(*arguments: object, text: str | None = None) -> str:
    """Run promtool; fail with what it prints unless it ends with success."""
    command = shutil.which("promtool")
    if command is None:
        missing("promtool, of the package prometheus")
    call = [command, *map(str, arguments)]
    done = subprocess.run(call, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def queries() -> list[str]:
    """Return every query of the dashboards and the alerts."""
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [panel.query for one in DASHBOARDS for panel in one.panels] + [rule["expr"] for rule in group["rules"]]


def test_the_metrics_follow_the_conventions_of_prometheus() -> None:
    registry = CollectorRegistry()
    registry.register(FleetMetrics(lambda: FIGURES))
    assert promtool("check", "metrics", text=generate_latest(registry).decode()) == ""


def test_the_rules_and_the_configuration_are_valid() -> None:
    promtool("check", "rules", MONITORING / "alerts.yaml")
    promtool("check", "config", "--syntax-only", MONITORING / "prometheus.yaml")


def test_every_alert_fires_and_clears() -> None:
    promtool("test", "rules", MONITORING / "alerts.test.yaml")
    (group,) = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    cases = {case["name"]: case for case in yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]}
    for rule in group["rules"]:
        fires, clears = cases[rule["alert"]]["alert_rule_test"]
        assert fires["exp_alerts"]
        assert not clears["exp_alerts"]


def test_the_dashboards_are_those_of_the_code() -> None:
    """`python -m whisper_fleet.deploy.monitoring` writes them."""
    assert {file.name: file.read_text() for file in FOLDER.iterdir()} == rendered()


@pytest.mark.parametrize("query", queries())
def test_every_query_asks_for_metrics_that_the_fleet_has(query: str) -> None:
    known = {spec.full_name: spec for spec in declared_metrics()}
    pattern = re.compile(r"whisper_fleet_\w+")
    for name in pattern.findall(re.sub(r"\{__name__=~[^}]*\}", "", query)):
        histogram = re.sub(r"_(bucket|count|sum)$", "", name)
        assert name in known or known[histogram].type == "histogram", name


def test_the_compose_file_finds_every_file_that_it_mounts() -> None:
    compose = MONITORING.parent / "docker" / "compose.yaml"
    mounted = re.findall(r"- (\.\./monitoring/[^:]+):", compose.read_text())
    assert mounted
    assert all((compose.parent / path).exists() for path in mounted)
    assert Path(FOLDER).is_dir()
