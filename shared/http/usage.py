"""What API keys used, by day. Written by the HTTP server, read by its route, the commands and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from redis import Redis

from whisper_fleet.shared.http import keys as http_keys
from whisper_fleet.shared.ledger.scripts import text
from whisper_fleet.shared.serialization import Wire

#: What is counted; jobs and audio when a job is done.
REQUESTS, JOBS, AUDIO_SECONDS = "requests", "jobs", "audio_seconds"
#: The name under which requests without any key are counted.
WITHOUT_KEY = "none"


class Usage(Wire):
    """What one key used on one day, by UTC."""

    date: str  # YYYY-MM-DD
    key: str  # id of the API key, or "none"
    requests: int = 0
    jobs: int = 0  # that are done
    audio_seconds: float = 0.0  # of those jobs


def day_of(moment: float) -> str:
    """Return the day of a moment, by UTC."""
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def last_days(count: int, now: float) -> list[str]:
    """Return the last days, today first."""
    today = datetime.fromtimestamp(now, UTC).date()
    return [(today - timedelta(days=ago)).isoformat() for ago in range(count)]


def usage_from(date: str, fields: Mapping[Any, Any]) -> list[Usage]:
    """Return what each key used on a day, from the hash of that day, by key."""
    counts: dict[str, dict[str, float]] = {}
    for field, value in fields.items():
        key, _, what = text(field).partition("/")
        counts.setdefault(key, {})[what] = float(text(value))
    return [_usage(date, key, counts[key]) for key in sorted(counts)]


def read_usage(redis: Redis, days: int, now: float) -> list[Usage]:
    """Return what every key used in the last days, today first."""
    return [
        usage
        for day in last_days(days, now)
        for usage in usage_from(day, cast("dict[bytes, bytes]", redis.hgetall(http_keys.usage(day))))
    ]


def _usage(date: str, key: str, counts: Mapping[str, float]) -> Usage:
    return Usage(
        date=date,
        key=key,
        requests=int(counts.get(REQUESTS, 0)),
        jobs=int(counts.get(JOBS, 0)),
        audio_seconds=round(counts.get(AUDIO_SECONDS, 0.0), 3),
    )
