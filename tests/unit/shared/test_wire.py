"""What a process of a newer version wrote is read without what is new in it; what a user gives is not."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.ledger_by_hand import request, result
from whisper_fleet.shared.ledger.records import LaneNeeds, job_record
from whisper_fleet.shared.wire import (
    EngineRates,
    GpuStatus,
    Need,
    SegmentPlan,
    SegmentResult,
    SlotDecision,
    TranscribeRequest,
    Wire,
)
from whisper_fleet.workers.link.protocol import Opened, read_reply, read_request

WRITTEN: list[Wire] = [
    GpuStatus(
        id="h.0", host="h", index=0, uuid="cpu", name="cpu", device="cpu", node="gpu0@h", queue="gpu.h.0",
        slots=4, busy=0, ready=True, started=0.0, heartbeat=1.0,
    ),
    SlotDecision(gpu="h.0", node="gpu0@h", at=1.0, action="hold", outcome="none", reason="as it was"),
    SegmentPlan(index=0, start=0.0, end=1.0),
    result("Hello."),
    request(options={"beam_size": 5}),
    LaneNeeds(priority=5, tenant="", need=Need(model_name="base", precision="float16", segment_duration=300.0)),
]  # fmt: skip

#: As nodes wrote them before the engine's rates were reported (commit b7270e0).
STATUSES_BEFORE_RATES = (
    '{"id":"gpubox.1","host":"gpubox","index":1,"uuid":"GPU-8a56a4bc-184e-4047-bc2e-2c9c1cf7d7ba","name":"NVIDIA L4",'
    '"device":"cuda","node":"gpu1@gpubox","queue":"gpu.gpubox.1","slots":12,"busy":3,"total_bytes":24152899584,'
    '"free_bytes":11811160064,"engine_bytes":8321499136,"engine_pid":4242,"models":["large-v3/float16"],'
    '"forms":{"float16":"absorbed"},"ready":true,"started":1764188400.25,"heartbeat":1764190000.5}',
    '{"id":"laptop.0","host":"laptop","index":0,"uuid":"cpu","name":"cpu","device":"cpu","node":"gpu0@laptop",'
    '"queue":"gpu.laptop.0","slots":1,"busy":0,"models":[],"forms":{},"ready":false,"started":1764188400.25,'
    '"heartbeat":1764190000.5}',
)

RATES = EngineRates(
    windows_per_s=2.5, times_realtime=75.0, tokens_per_s=250.0, share_encode=0.2, share_prefill=0.1, share_decode=0.6,
    share_idle=0.1, rows_live=3, rows_waiting=1,
)  # fmt: skip


def newer(written: dict[str, Any]) -> dict[str, Any]:
    """The same with a field more, in it and in what is inside it."""
    inside = {name: newer(value) for name, value in written.items() if name == "need"}
    return {**written, **inside, "brand_new": {"of": [1, 2]}}


@pytest.mark.parametrize("wire", WRITTEN, ids=lambda wire: type(wire).__name__)
def test_fields_that_are_new_to_the_reader_are_left_out(wire: Wire) -> None:
    assert type(wire).from_json(json.dumps(newer(json.loads(wire.to_json())))) == wire


@pytest.mark.parametrize("written", STATUSES_BEFORE_RATES)
def test_the_status_of_a_node_of_before_the_rates_is_read(written: str) -> None:
    status = GpuStatus.from_json(written)
    assert (status.rates, status.id, status.node) == (
        None,
        f"{status.host}.{status.index}",
        f"gpu{status.index}@{status.host}",
    )


@pytest.mark.parametrize("written", STATUSES_BEFORE_RATES)
def test_what_a_process_of_before_the_rates_reads_of_a_status_stands_where_it_stood(written: str) -> None:
    status = GpuStatus.from_json(written).model_copy(update={"rates": RATES})
    told = json.loads(status.to_json())
    assert told.pop("rates") == RATES.model_dump()
    assert told == json.loads(written)


def test_a_jobs_record_of_a_newer_version_is_read() -> None:
    asked = json.dumps(newer(json.loads(request().to_json())))
    record = job_record("j", {"state": "accepted", "request": asked, "accepted": "1.0", "brand_new": "x"})
    assert record.request == request()


def test_a_node_takes_the_message_of_a_newer_dispatcher() -> None:
    from whisper_fleet.workers.tasks import transcribe_segment  # it makes the node's Celery app

    asked = {"job": "j", "segment": 0, "token": "t", "brand_new": 1}
    assert inspect.signature(transcribe_segment.run).bind(**asked).arguments["segment"] == 0


def test_what_is_missing_or_wrong_is_still_an_error() -> None:
    with pytest.raises(ValidationError, match="language"):
        SegmentResult.from_json(result().to_json().replace('"language"', '"langauge"'))


def test_nobody_makes_one_with_a_field_that_it_does_not_have() -> None:
    with pytest.raises(ValidationError, match="langauge"):
        TranscribeRequest(file_path="/a.wav", model_name="base", langauge="en")  # type: ignore[call-arg]


def test_a_node_reads_the_replies_of_a_newer_engine_but_an_engine_no_request_that_it_does_not_know() -> None:
    opened = Opened(dims={"n_mels": 80}, alignment_heads=[(0, 1)], precision="float16")
    assert read_reply(json.dumps(newer(json.loads(opened.to_json()))).encode()) == opened
    with pytest.raises(ValidationError, match="brand_new"):
        read_request(json.dumps({"kind": "resize", "slots": 4, "brand_new": 1}).encode())
