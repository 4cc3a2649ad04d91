"""What Celery's message of a request carries beside the request: what follows it, its times, its priority."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from whisper_fleet.shared import tracing
from whisper_fleet.shared.ledger.continuation import Continuation


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A message as intake received it; moments are Unix seconds."""

    continuation: Continuation | None = None
    not_before: float | None = None  # countdown or eta
    expires: float | None = None
    trace: str | None = None  # the traceparent in its headers
    priority: int | None = None  # Celery's; None: left out, or 0, which Celery does not tell apart

    @classmethod
    def of(cls, request: Any) -> Receipt:
        """Return the receipt of a Celery request."""
        return cls(
            continuation=Continuation.of(request),
            not_before=_moment(request.eta),
            expires=_moment(request.expires),
            trace=_trace(request),
            priority=_priority(request.delivery_info or {}),
        )


#: The receipt of a message that carries nothing beside the request.
NOTHING_ELSE = Receipt()


def _trace(request: Any) -> str | None:
    """Return the trace context that the client's program has put among the headers of the message."""
    headers = request.headers if isinstance(request.headers, dict) else {}
    return tracing.valid_header(getattr(request, "traceparent", None) or headers.get("traceparent"))


def _moment(written: str | datetime | None) -> float | None:
    """Return the Unix time of an ISO 8601 time; one without a zone is UTC, as for Celery."""
    if written is None:
        return None
    moment = written if isinstance(written, datetime) else datetime.fromisoformat(written)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _priority(delivery_info: dict[str, Any]) -> int | None:
    priority = delivery_info.get("priority")
    return priority if isinstance(priority, int) and 0 < priority <= 9 else None
