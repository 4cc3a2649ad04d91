"""What tracing does where it is off, and with what comes from outside."""

from __future__ import annotations

import subprocess
import sys

import pytest

from whisper_fleet.shared import tracing

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "header",
    [
        None,
        5,
        b"00",
        "",
        HEADER + "\n",
        HEADER.upper(),
        "ff" + HEADER[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        HEADER + "-more",
    ],
)
def test_a_header_that_is_not_a_trace_context_counts_as_none(header: object) -> None:
    assert tracing.valid_header(header) is None


def test_a_process_that_does_not_trace_passes_a_trace_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert tracing.valid_header(HEADER) == HEADER
    with tracing.span("receive", HEADER) as header:
        assert header == HEADER
    assert tracing.headers_for(HEADER) == {"traceparent": HEADER}
    assert tracing.headers_for(None) is None


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    program = """
import sys
from whisper_fleet.shared import tracing
with tracing.span("submit", job="j"):
    tracing.record_span("wait", None, 0.0, 1.0)
tracing.flush()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
