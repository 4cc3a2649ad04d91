"""The trace of a job, from the client's submit to the answer, as OpenTelemetry spans over all processes.

Callers: each step of a job, with one line. Nothing is imported and nothing is sent unless the standard variable
OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set; the other OTEL_* variables count as in every
program. A trace's context is the text of a W3C `traceparent`: it travels in HTTP and message headers, and the ledger
keeps it with the job, so that recovery and retries stay in the trace. A collector that is down costs spans, not jobs.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

from whisper_fleet.shared.display.text import printable
from whisper_fleet.shared.process.program import program_name
from whisper_fleet.shared.settings import load_settings

_log = logging.getLogger(__name__)

_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_HEADER = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Milliseconds after which spans are sent: a process that is killed loses those of the last moment.
_DELAY_MS = 1000

Kind = Literal["internal", "server", "producer", "consumer", "client"]


def is_on() -> bool:
    """Return whether this process traces."""
    return any(os.environ.get(name) for name in _VARIABLES) and _tracer(os.getpid()) is not None


def import_all() -> None:
    """Import what tracing needs, in a process that is about to fork; see `read_all` of the ledger's scripts."""
    if any(os.environ.get(name) for name in _VARIABLES):
        _exporter_classes()
    current_header()


def valid_header(header: object) -> str | None:
    """Return a `traceparent` that came from outside if it is one, else None."""
    return header if isinstance(header, str) and _HEADER.fullmatch(header) else None


@contextmanager
def span(name: str, parent: str | None = None, kind: Kind = "internal", **attributes: object) -> Iterator[str | None]:
    """Record a span while the context lasts, and yield its `traceparent` for the steps that follow from it.

    Without `parent` it belongs to the span that this thread or task is in. An error that leaves the context is
    recorded. Where this process does not trace, the parent is passed on.
    """
    if not is_on():
        yield parent or current_header()
        return
    from opentelemetry import trace

    tracer = _tracer(os.getpid())
    context, kinds = _context_of(parent), trace.SpanKind
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=kinds[kind.upper()],
        attributes=_attributes(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current_header()
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, printable(f"{type(error).__name__}: {error}"))
            raise


def record_span(
    name: str, parent: str | None, start: float, end: float, error: str | None = None, **attributes: object
) -> None:
    """Record a span that has ended already; moments are Unix seconds. `error` says why it failed."""
    if not is_on():
        return
    from opentelemetry import trace

    start_ns, end_ns = int(start * 1e9), int(max(start, end) * 1e9)
    made = _tracer(os.getpid()).start_span(
        name, context=_context_of(parent), start_time=start_ns, attributes=_attributes(attributes)
    )
    if error is not None:
        made.set_status(trace.StatusCode.ERROR, printable(error))
    made.end(end_ns)


def add_to_span(**attributes: object) -> None:
    """Add attributes to the span that this thread or task is in."""
    if is_on():
        from opentelemetry import trace

        trace.get_current_span().set_attributes(_attributes(attributes))


def headers_for(header: str | None) -> dict[str, str] | None:
    """Return the headers of a message that carry a trace; None if there is none."""
    return None if header is None else {"traceparent": header}


def flush() -> None:
    """Send the spans that have ended; for tests, and before a process ends in another way than Python's own."""
    if is_on():
        _provider(os.getpid()).force_flush(5000)


def _attributes(attributes: dict[str, object]) -> dict[str, Any]:
    known = {name: value for name, value in attributes.items() if value is not None and value != ""}
    return {
        f"whisper_fleet.{name}": value if isinstance(value, (int, float)) else printable(value)
        for name, value in known.items()
    }


def _context_of(parent: str | None) -> Any:
    """Return the context in which a span of this parent starts; None: the current one."""
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def current_header() -> str | None:
    """Return the `traceparent` of the span that this thread or task is in, also of one that the program's own began."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _tracer(process: int) -> Any:
    """Return the tracer of this process; None where the packages are missing."""
    provider = _provider(process)
    return None if provider is None else provider.get_tracer("whisper_fleet")


@lru_cache(maxsize=1)
def _provider(process: int) -> Any:
    """Return the provider of a process. A child that is forked gets its own: threads do not survive a fork."""
    if (classes := _exporter_classes()) is None:
        _log.warning("no traces are sent: pip install 'whisper-fleet[otel]', or unset %s", " and ".join(_VARIABLES))
        return None
    OTLPSpanExporter, Resource, TracerProvider, BatchSpanProcessor = classes  # noqa: N806
    host, program = load_settings().host, program_name()
    own = {"service.instance.id": f"{program}@{host}", "host.name": host, "whisper_fleet.role": program}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        own["service.name"] = "whisper-fleet"
    provider = TracerProvider(resource=Resource.create(own))
    delay = None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else _DELAY_MS
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay))
    return provider


def _exporter_classes() -> tuple[Any, Any, Any, Any] | None:
    """Return the classes that send spans; None where the packages are missing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return None
    return OTLPSpanExporter, Resource, TracerProvider, BatchSpanProcessor
