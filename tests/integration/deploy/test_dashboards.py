"""Under load, a real Prometheus finds data for every query of the dashboards."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import missing
from tests.support.fleet_processes import FleetProcesses, running_fleet
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until
from whisper_fleet.deploy.monitoring.dashboards import DASHBOARDS

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]


class Prometheus:
    """A Prometheus that scrapes one target every second."""

    def __init__(self, directory: Path, target: str) -> None:
        command = shutil.which("prometheus")
        if command is None:
            missing("prometheus")
        config = {
            "global": {"scrape_interval": "2s"},
            "scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": [target]}]}],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._address = f"127.0.0.1:{free_port()}"
        options = [f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/tsdb"]
        with (directory / "prometheus.log").open("w") as log:
            call = [command, *options, f"--web.listen-address={self._address}"]
            self._process = subprocess.Popen(call, stdout=log, stderr=log)

    def values(self, query: str) -> list[dict[str, Any]]:
        """Return the samples of a query now; none while Prometheus starts."""
        url = f"http://{self._address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                samples: list[dict[str, Any]] = json.load(response)["data"]["result"]
        except (ConnectionError, urllib.error.URLError):
            return []
        return samples

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, tiny_model: Path) -> Iterator[FleetProcesses]:
    """A fleet under load, with Flower at a port of its own."""
    names = ("beat", "scheduler", "intake", "gpu0", "flower")
    settings = {"default_model": str(tiny_model), "flower_port": free_port(), "segment_duration": 30}
    with running_fleet(names, redis_url, tmp_path, tiny_model.parent, **settings) as fleet:
        yield fleet


@pytest.fixture
def prometheus(fleet: FleetProcesses, tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the fleet's Flower."""
    prometheus = Prometheus(tmp_path, f"127.0.0.1:{fleet.settings.flower_port}")
    try:
        yield prometheus
    finally:
        prometheus.stop()


def test_every_panel_of_every_dashboard_has_data(
    fleet: FleetProcesses, prometheus: Prometheus, speech: dict[Path, str]
) -> None:
    for number in range(60):
        fleet.submit(file_path=list(speech)[number % len(speech)], tenant=f"tenant-{number % 3}", language="en")
    unseen = {panel.query for dashboard in DASHBOARDS for panel in dashboard.panels}

    def all_seen() -> bool:
        for query in list(unseen):
            if prometheus.values(query.replace("$gpu", ".*").replace("$priority", ".*").replace("$tenant", ".*")):
                unseen.discard(query)
        return not unseen

    try:
        wait_until(all_seen, 180.0, interval=1.0)
    except AssertionError:
        pytest.fail(f"no data for {unseen}")
