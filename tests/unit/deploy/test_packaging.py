"""The image, compose file, systemd units and Kubernetes manifests: valid, and true to what the package has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.conftest import missing
from tests.support.manifests import Manifest, containers, render
from whisper_fleet.cli.machine.serve import PROGRAMS
from whisper_fleet.shared.settings import Settings

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = DEPLOY / "docker" / "compose.yaml"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OVERLAYS = ("base", "redis", "network-policy", "gpu-autoscaled")
#: Versions of Kubernetes that are supported upstream, the oldest and the newest.
KUBERNETES = ("1.31", "1.34")


def run(*command: object) -> str:
    """Run a checker; fail with what it prints unless it ends with success."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compose_services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def kubernetes_commands() -> list[list[str]]:
    """Return the arguments of every container that runs the fleet's image."""
    objects = [one for overlay in OVERLAYS for one in render(DEPLOY / "kubernetes" / overlay)]
    return [c["args"] for one in objects for c in containers(one) if c["image"].startswith("whisper-fleet")]


def served_programs() -> dict[str, set[str]]:
    """Return which programs each way of deploying starts."""
    compose = [service["command"] for service in compose_services().values() if "command" in service]
    units = [re.findall(r"^ExecStart=\S+ (.*)$", unit.read_text(), re.MULTILINE)[0].split() for unit in UNITS]
    ways = {"compose": compose, "systemd": units, "kubernetes": kubernetes_commands()}
    return {way: {command[1] for command in commands if command[0] == "serve"} for way, commands in ways.items()}


def test_the_dockerfile_has_no_findings() -> None:
    run(Path(sys.executable).parent / "hadolint", DEPLOY / "docker" / "Dockerfile")


def test_the_image_gets_every_file_that_the_package_is_built_from() -> None:
    ignored = (DEPLOY.parent / ".dockerignore").read_text().split()
    built = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    needed = {"pyproject.toml", "constraints.txt", "LICENSE", "README.md", "whisper_fleet", "shared", "scheduler"}
    assert built
    assert {f"!{name}" for name in needed | {"workers", "deploy", "celeryconfig.py"}} <= set(ignored)


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cpu.yaml"])
def test_the_compose_files_match_the_specification(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / "docker" / name).read_text().replace("!reset ", "")  # a tag of compose's, not of the schema
    (tmp_path / name).write_text(text)
    checker = Path(sys.executable).parent / "check-jsonschema"
    run(checker, "--builtin-schema", "vendor.compose-spec", tmp_path / name)


def test_the_cpu_variant_changes_services_that_exist() -> None:
    text = (DEPLOY / "docker" / "compose.cpu.yaml").read_text().replace("!reset ", "")
    changed = yaml.safe_load(text)["services"]
    ours = {name for name, service in compose_services().items() if service["image"].startswith("whisper-fleet")}
    assert set(changed) == ours


def test_every_variable_of_compose_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    offered = set(re.findall(r"^(\w+)=", (DEPLOY / "docker" / "example.env").read_text(), re.MULTILINE))
    assert asked
    assert asked <= offered


def test_redis_is_protected_and_keeps_jobs_in_every_way() -> None:
    for text in (COMPOSE.read_text(), (DEPLOY / "kubernetes" / "redis" / "redis.yaml").read_text()):
        for option in ("--requirepass", "--appendonly yes", "--maxmemory-policy noeviction"):
            assert option in text


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux'")
def test_the_units_are_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze")
    for unit in [*UNITS, DEPLOY / "systemd" / "whisper-fleet.target"]:
        text = unit.read_text().replace("/opt/whisper-fleet/bin/whisper-fleet", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    assert run("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir())) == ""


def test_a_unit_gives_its_process_time_to_stop() -> None:
    """A GPU node lets segments finish for the drain timeout, and the supervisor's own limit is 15 s longer."""
    text = (DEPLOY / "systemd" / "whisper-fleet-gpu@.service").read_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", text)[0]) >= Settings().drain_timeout + 15
    assert all("KillMode=mixed" in unit.read_text() for unit in UNITS)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str, version: str) -> None:
    for manifest in render(DEPLOY / "kubernetes" / overlay):
        if manifest["apiVersion"].split(".")[0] != "keda":  # a custom resource, see below
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_autoscaled_overlay_scales_the_gpu_pods_by_the_backlog() -> None:
    objects = {(one["kind"], one["metadata"]["name"]): one for one in render(DEPLOY / "kubernetes" / "gpu-autoscaled")}
    scaled: Manifest = objects["ScaledObject", "gpu"]
    reference = scaled["spec"]["scaleTargetRef"]
    assert (reference["kind"], reference["name"]) in objects
    assert ("DaemonSet", "gpu") not in objects
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "prometheus"
    assert "whisper_fleet_backlog_gpu_seconds" in trigger["metadata"]["query"]


def test_the_settings_of_the_manifests_are_settings() -> None:
    (settings,) = [one for one in render(DEPLOY / "kubernetes" / "base") if one["kind"] == "ConfigMap"]
    names = set(tomllib.loads(settings["data"]["config.toml"]))
    assert names <= set(Settings.model_fields)
    texts = [COMPOSE.read_text(), *(file.read_text() for file in (DEPLOY / "kubernetes").rglob("*.yaml"))]
    variables = {name for text in texts for name in re.findall(r"WHISPER_FLEET_([A-Z_]+)", text)}
    assert {name.lower() for name in variables} - {"config"} <= set(Settings.model_fields)


def test_every_way_starts_every_program_that_it_needs() -> None:
    needed = {"scheduler", "beat", "intake", "gpu", "http", "flower"}
    for way, programs in served_programs().items():
        assert programs >= needed, way
        assert programs <= set(PROGRAMS), way


def test_every_health_check_names_a_program() -> None:
    text = "".join(file.read_text() for file in (COMPOSE, *(DEPLOY / "kubernetes").rglob("*.yaml")))
    checked = set(re.findall(r"health\"?, \"?(\w+)", text))
    assert checked
    assert checked <= set(PROGRAMS)
