"""The trace of a job over all processes, in a collector: from an HTTP request or a Celery message to the answer."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.fleet_processes import FleetProcesses
from tests.support.otlp_receiver import OtlpReceiver, Span
from tests.support.process_tree import descendants
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until
from whisper_fleet.shared import names
from whisper_fleet.shared.ledger.running import jobs_on_gpus

pytestmark = pytest.mark.integration

TRACE, OTHER_TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path, tiny_model: Path, collector: OtlpReceiver) -> Iterator[FleetProcesses]:
    """A fleet that sends its traces to the collector."""
    fleet = FleetProcesses(redis_url, tmp_path, tiny_model.parent, http_port=free_port(), heartbeat_timeout=5.0)
    fleet.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    fleet.environment["WHISPER_FLEET_HTTP_MODEL_ALIASES"] = json.dumps({"random": str(tiny_model)})
    try:
        fleet.start("beat", "scheduler", "intake", "http", "gpu0")
        yield fleet
    finally:
        fleet.stop()


def kill_node_in_an_attempt(fleet: FleetProcesses, submit: httpx.Request) -> str:
    """Send a request while the engine is stopped, kill the node that runs it, start another, and return the job."""
    node = fleet.processes["gpu0"]
    (engine,) = [child for child in descendants(node.pid) if "workers.engine" in " ".join(child.cmdline())]
    engine.suspend()
    with httpx.Client(timeout=60) as client:
        job: str = client.send(submit).raise_for_status().json()["id"]
    wait_until(lambda: job in jobs_on_gpus(fleet.redis))
    wait_until(lambda: "starts, attempt 1" in fleet.log("gpu0").read_text())
    node.send_signal(signal.SIGKILL)
    node.wait()
    engine.kill()
    psutil.wait_procs([engine], timeout=30)
    fleet.start("gpu0")
    return job


def only(spans: list[Span], name: str) -> Span:
    (span,) = [span for span in spans if span.name == name]
    return span


def test_a_job_is_one_trace_with_both_attempts(
    fleet: FleetProcesses, collector: OtlpReceiver, speech: dict[Path, str], tiny_model: Path
) -> None:
    clip = next(iter(speech))
    url = f"http://127.0.0.1:{fleet.settings.http_port}/v1/jobs"
    wait_until(lambda: _answers(url.removesuffix("/v1/jobs")))
    request = httpx.Request(
        "POST",
        url,
        json={"file_path": str(clip), "model": "random"},
        headers={"traceparent": f"00-{TRACE}-{SPAN}-01"},
    )
    job = kill_node_in_an_attempt(fleet, request)
    wait_until(lambda: any(span.name == "answer" for span in collector.spans(TRACE)), 120)
    wait_until(lambda: len([span for span in collector.spans(TRACE) if span.name == "attempt"]) == 2)

    spans = collector.spans(TRACE)
    served, submit = only(spans, "POST /v1/jobs"), only(spans, "submit")
    assert (served.parent, served.role) == (SPAN, "http")
    assert (submit.parent, submit.role) == (served.id, "http")
    receive = only(spans, "receive")
    assert (receive.parent, receive.role) == (submit.id, "intake")
    assert only(spans, "decode").parent == receive.id
    first, second = (span for span in spans if span.name == "attempt")
    assert {first.parent, second.parent} == {submit.id}
    assert (first.attributes["attempt"], second.attributes["attempt"]) == (1, 2)
    assert first.error is not None and second.error is None
    assert second.role == "gpu0"
    assert {first.attributes["gpu"], second.attributes["gpu"]} == {"testhost.0"}
    assert {span.attributes["job"] for span in spans if span.name in ("receive", "attempt", "assemble")} == {job}
    for part in ("read audio", "transcribe"):
        assert only(spans, part).parent == second.id
    for last in ("assemble", "answer"):
        assert (only(spans, last).parent, only(spans, last).role) == (submit.id, "intake")
    assert first.start < second.start < only(spans, "assemble").start

    # A plain Celery client: its own instrumentation puts the context into the message's headers.
    headers = {"traceparent": f"00-{OTHER_TRACE}-{SPAN}-01"}
    keywords = {"file_path": str(clip), "model_name": str(tiny_model), "output_path": str(fleet.directory / "out")}
    sent = fleet.app.send_task(names.TRANSCRIBE, kwargs=keywords, queue=names.TRANSCRIBE_QUEUE, headers=headers)
    assert sent.get(timeout=120)
    steps = ("wait for a GPU", "attempt", "assemble", "answer")
    wait_until(lambda: {*steps, "receive", "write files"} <= {span.name for span in collector.spans(OTHER_TRACE)})
    spans = collector.spans(OTHER_TRACE)
    receive = only(spans, "receive")
    assert receive.parent == SPAN
    assert {only(spans, name).parent for name in steps} == {receive.id}
    assert only(spans, "write files").parent == only(spans, "assemble").id


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False
