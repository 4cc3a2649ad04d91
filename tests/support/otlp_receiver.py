"""A collector of OpenTelemetry traces: receives OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """A span as it was received."""

    name: str
    trace: str
    id: str
    parent: str  # empty: none
    role: str  # of the process that recorded it
    attributes: dict[str, Any]  # of the fleet, without the prefix
    error: str | None
    start: float  # Unix seconds
    end: float


class OtlpReceiver:
    """Listens on a free port while the context lasts."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> OtlpReceiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self, trace: str) -> list[Span]:
        """Return the spans of a trace in the order of their start."""
        return sorted((span for span in list(self._spans) if span.trace == trace), key=lambda span: span.start)

    def _take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            role = next(a.value.string_value for a in group.resource.attributes if a.key == "whisper_fleet.role")
            for scope in group.scope_spans:
                self._spans += [_span(span, role) for span in scope.spans]

    def _handler(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that the library calls
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver._take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        return Handler


def _span(span: Any, role: str) -> Span:
    values = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
    return Span(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        role=role,
        attributes={name.removeprefix("whisper_fleet."): value for name, value in values.items()},
        error=span.status.message if span.status.code == 2 else None,
        start=span.start_time_unix_nano / 1e9,
        end=span.end_time_unix_nano / 1e9,
    )
