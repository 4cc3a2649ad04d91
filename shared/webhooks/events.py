"""The events that webhooks carry, and their JSON. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from whisper_fleet.shared.ledger.records import JobRecord

#: Seconds from an event to the last attempt to deliver it.
PATIENCE_SECONDS = 86400.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job or a batch."""

    id: str  # the webhook-id: the same in every attempt
    type: str  # <kind>.<state>, such as job.done
    created: float  # Unix seconds
    data: dict[str, Any]  # `id` is that of the job or batch

    def body(self) -> str:
        """Return the JSON that is sent.

        It is an event both of Standard Webhooks (type, timestamp, data) and of OpenAI (id, object, created_at). `job`
        and `state` at the top are what callbacks held before they were webhooks.
        """
        kind, _, state = self.type.partition(".")
        moment = datetime.fromtimestamp(self.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {
                "id": self.id,
                "object": "event",
                "type": self.type,
                "created_at": int(self.created),
                "timestamp": moment.replace("+00:00", "Z"),
                kind: self.data["id"],
                "state": state,
                "data": {**self.data, "state": state},
            }
        )


def job_event_id(record: JobRecord) -> str:
    """Return the id of the event that a job ended; a job that is submitted again under its old id has another."""
    return event_id("job", record.job, repr(record.accepted))


def event_id(*what: str) -> str:
    """Return the id that belongs to these texts."""
    return f"evt_{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]}"


def job_data(record: JobRecord) -> dict[str, Any]:
    """Return what an event reports of a job beside its state; never its transcript."""
    error = None if record.error is None else {"type": record.error_type, "message": record.error}
    return {
        "id": record.job,
        "tenant": record.request.tenant,
        "labels": record.request.labels,
        "duration": record.duration,
        "error": error,
    }


def target_of_url(url: str) -> str:
    """Return the server of a URL: what is slow or down is a server, so its deliveries share a limit."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
