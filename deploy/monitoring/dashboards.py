"""The Grafana dashboards of a fleet, as code: each panel is one query with a title, a unit and a legend. Pure.

`python -m whisper_fleet.deploy.monitoring` writes them to grafana/dashboards; a test compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _HEIGHT = 12, 8  # of a panel, in Grafana's grid of 24 columns
_SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A graph over time."""

    title: str
    query: str  # $gpu and $priority are the dashboard's variables
    legend: str
    unit: str = "short"  # Grafana's id of it
    help: str = ""


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A page of panels; `variable` is the label that a viewer chooses values of."""

    name: str  # of its file
    title: str
    panels: Sequence[Panel]
    variable: str = ""
    variable_query: str = ""

    def to_grafana(self) -> dict[str, Any]:
        """Return the dashboard in Grafana's JSON model."""
        return {
            "uid": f"whisper-fleet-{self.name}",
            "title": self.title,
            "tags": ["whisper-fleet"],
            "timezone": "browser",
            "schemaVersion": 39,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "templating": {"list": self._variables()},
            "panels": [_grafana_panel(number, panel) for number, panel in enumerate(self.panels)],
        }

    def _variables(self) -> list[dict[str, Any]]:
        if not self.variable:
            return []
        return [
            {
                "name": self.variable,
                "type": "query",
                "datasource": _SOURCE,
                "query": self.variable_query,
                "refresh": 2,
                "multi": True,
                "includeAll": True,
                "current": {"text": "All", "value": "$__all"},
            }
        ]


def _grafana_panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, 2)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "datasource": _SOURCE, "expr": panel.query, "legendFormat": panel.legend}],
    }


def _quantile(quantile: float, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({quantile}, sum by (le, {by}) (rate({metric}_bucket{where}[5m])))"


_FLEET = Dashboard(
    name="fleet",
    title="Whisper Fleet",
    panels=(
        Panel(
            title="Speed",
            query="sum by (gpu) (rate(whisper_fleet_audio_seconds_total[1m]))",
            legend="{{gpu}}",
            unit="none",
            help="Seconds of audio transcribed per second.",
        ),
        Panel(
            title="Backlog of audio",
            query="max(whisper_fleet_backlog_seconds)",
            legend="audio that waits",
            unit="s",
        ),
        Panel(
            title="Slots",
            query='label_replace(sum(whisper_fleet_slots), "kind", "live", "", "") or label_replace('
            'sum(whisper_fleet_slots_busy), "kind", "busy", "", "") or label_replace('
            'sum(whisper_fleet_slots_wanted), "kind", "wanted", "", "")',
            legend="{{kind}}",
        ),
        Panel(title="Segments", query="sum by (state) (whisper_fleet_segments)", legend="{{state}}"),
        Panel(
            title="Jobs that ended, per minute",
            query="60 * sum by (state) (rate(whisper_fleet_jobs_total[5m]))",
            legend="{{state}}",
        ),
        Panel(
            title="Messages that wait for intake", query="max by (queue) (whisper_fleet_messages)", legend="{{queue}}"
        ),
        Panel(
            title="GPUs that are up",
            query="sum(whisper_fleet_gpu_up)",
            legend="GPUs",
        ),
        Panel(
            title="Attempts that failed, per minute",
            query="60 * sum by (gpu) (rate(whisper_fleet_attempts_failed_total[5m]))",
            legend="{{gpu}}",
        ),
        Panel(
            title="Webhooks that are not delivered",
            query="max by (state) (whisper_fleet_webhooks_pending)",
            legend="{{state}}",
        ),
    ),
)

_GPU = Dashboard(
    name="gpu",
    title="Whisper Fleet: one GPU",
    variable="gpu",
    variable_query="label_values(whisper_fleet_gpu_up, gpu)",
    panels=(
        Panel(
            title="Memory",
            query='whisper_fleet_gpu_memory_bytes{gpu=~"$gpu"}',
            legend="{{gpu}} {{kind}}",
            unit="bytes",
        ),
        Panel(
            title="Slots",
            query='{__name__=~"whisper_fleet_slots(_wanted|_taken|_busy)?", gpu=~"$gpu"}',
            legend="{{gpu}} {{__name__}}",
        ),
        Panel(
            title="Speed of the engine",
            query='whisper_fleet_engine_realtime_ratio{gpu=~"$gpu"}',
            legend="{{gpu}}",
            unit="none",
            help="Seconds of audio per second, averaged over ten seconds.",
        ),
        Panel(
            title="What the engine does",
            query='whisper_fleet_engine_time_ratio{gpu=~"$gpu"}',
            legend="{{gpu}} {{phase}}",
            unit="percentunit",
        ),
        Panel(
            title="Rows of the batch",
            query='whisper_fleet_engine_rows_live{gpu=~"$gpu"}',
            legend="{{gpu}} rows",
        ),
        Panel(
            title="Time per window of 30 s",
            query=_quantile(0.95, "whisper_fleet_window_seconds", "gpu", '{gpu=~"$gpu"}'),
            legend="{{gpu}} 95 %",
            unit="s",
        ),
    ),
)

_JOBS = Dashboard(
    name="jobs",
    title="Whisper Fleet: jobs by priority",
    variable="priority",
    variable_query="label_values(whisper_fleet_job_wait_seconds_bucket, priority)",
    panels=(
        Panel(
            title="Wait until a job starts, median",
            query=_quantile(0.5, "whisper_fleet_job_wait_seconds", "priority", '{priority=~"$priority"}'),
            legend="priority {{priority}}",
            unit="s",
        ),
        Panel(
            title="Wait until a job starts, 95 %",
            query=_quantile(0.95, "whisper_fleet_job_wait_seconds", "priority", '{priority=~"$priority"}'),
            legend="priority {{priority}}",
            unit="s",
        ),
        Panel(
            title="From acceptance to transcript, median",
            query=_quantile(0.5, "whisper_fleet_job_text_seconds", "priority", '{priority=~"$priority"}'),
            legend="priority {{priority}}",
            unit="s",
        ),
        Panel(
            title="From acceptance to transcript, 95 %",
            query=_quantile(0.95, "whisper_fleet_job_text_seconds", "priority", '{priority=~"$priority"}'),
            legend="priority {{priority}}",
            unit="s",
        ),
        Panel(
            title="Jobs that were done, per minute",
            query='60 * sum by (priority) (rate(whisper_fleet_job_text_seconds_count{priority=~"$priority"}[5m]))',
            legend="priority {{priority}}",
        ),
        Panel(
            title="Jobs that wait for a GPU",
            query='whisper_fleet_jobs_waiting{priority=~"$priority"}',
            legend="priority {{priority}}",
        ),
    ),
)

_TENANTS = Dashboard(
    name="tenants",
    title="Whisper Fleet: tenants",
    variable="tenant",
    variable_query="label_values(whisper_fleet_tenant_jobs_waiting, tenant)",
    panels=(
        Panel(
            title="Jobs that wait for a GPU",
            query='whisper_fleet_tenant_jobs_waiting{tenant=~"$tenant"}',
            legend="{{tenant}}",
        ),
        Panel(
            title="Share of the jobs that wait",
            query='whisper_fleet_tenant_jobs_waiting{tenant=~"$tenant"} / on () group_left sum('
            "whisper_fleet_tenant_jobs_waiting)",
            legend="{{tenant}}",
            unit="percentunit",
        ),
    ),
)

DASHBOARDS = (_FLEET, _GPU, _JOBS, _TENANTS)
