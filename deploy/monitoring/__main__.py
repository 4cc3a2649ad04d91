"""Writes the dashboards: `python -m whisper_fleet.deploy.monitoring`."""

from __future__ import annotations

import json
from pathlib import Path

from whisper_fleet.deploy.monitoring.dashboards import DASHBOARDS

FOLDER = Path(__file__).parent / "grafana" / "dashboards"


def rendered() -> dict[str, str]:
    """Return the text of each dashboard's file by its name."""
    return {f"{one.name}.json": json.dumps(one.to_grafana(), indent=1) + "\n" for one in DASHBOARDS}


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
