"""Stored files and batches with OpenAI's own client, against a fleet with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.support.http_server import running_server
from tests.support.waiting import wait_until
from whisper_fleet.http.batches import clerk

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SAMPLES = Path(__file__).parents[4] / "whisper_fleet" / "samples"
CLIP = SAMPLES / "sense_and_sensibility-0880.wav"
SHORT = {"sample_len": 12, "logprob_threshold": -100.0, "no_speech_threshold": 1.0, "language": "en"}


@pytest.fixture
def audio(client: openai.OpenAI) -> Iterator[str]:
    """A stored clip."""
    file = client.files.create(file=CLIP, purpose="user_data")
    yield file.id
    client.files.delete(file.id)


def line(custom_id: str, **body: Any) -> str:
    body = {"model": "whisper-1", **SHORT, **body}
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/audio/transcriptions", "body": body}
    return json.dumps(request)


def begin(client: openai.OpenAI, lines: list[str], **options: Any) -> Batch:
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    endpoint: Any = "/v1/audio/transcriptions"
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options)


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    wait_until(lambda: client.batches.retrieve(batch.id).status in ("completed", "failed", "expired", "cancelled"), 120)
    return client.batches.retrieve(batch.id)


def lines_of(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    text = client.files.content(file_id).text
    assert client.files.retrieve(file_id).bytes == len(text.encode())
    return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


def test_a_file_is_stored_listed_read_and_deleted(client: openai.OpenAI, served: ServedFleet) -> None:
    file = client.files.create(file=("näme.txt", b"Example data"), purpose="assistants")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", 12, "näme.txt", "assistants")
    assert file.expires_at == file.created_at + int(served.fleet.settings.job_retention)
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == b"Example data"
    assert file.id in [found.id for found in client.files.list(purpose="assistants", limit=1)]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("x", b"x"), purpose="nonsense")  # type: ignore[arg-type]


def test_a_file_may_expire_sooner(client: openai.OpenAI) -> None:
    after: Any = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(file=("x", b"x"), purpose="assistants", expires_after=after)
    assert file.expires_at == file.created_at + 3600
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=("x", b"x"), purpose="assistants", expires_after=after | {"seconds": 1})


def test_files_are_listed_page_by_page(client: openai.OpenAI) -> None:
    files = [client.files.create(file=("x", b"x"), purpose="vision").id for _ in range(3)]
    assert [file.id for file in client.files.list(purpose="vision", order="asc", limit=2)] == files
    assert [file.id for file in client.files.list(purpose="vision", after=files[1])] == files[:1]
    with pytest.raises(openai.BadRequestError):
        client.files.list(after="file-none")


def test_a_batch_gives_every_line_its_transcript_or_its_error(
    client: openai.OpenAI, audio: str, web: httpx.Client
) -> None:
    lines = [
        line("json", file_id=audio),
        line("verbose", file_id=audio, response_format="verbose_json", timestamp_granularities=["word"]),
        line("srt", file=audio, response_format="srt"),
        line("missing", file_id="file-none"),
        line("no-audio"),
        line("wrong", file_id=audio, response_format="nonsense"),
        line("private", url="https://10.0.0.1/x.wav"),
    ]
    batch = begin(client, lines, metadata={"run": "1"})
    assert (batch.status, batch.metadata, batch.object) == ("validating", {"run": "1"}, "batch")
    batch = ended(client, batch)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 7, "completed": 3, "failed": 4}
    assert batch.created_at <= (batch.in_progress_at or 0) <= (batch.finalizing_at or 0) <= (batch.completed_at or 0)
    output = lines_of(client, batch.output_file_id)
    assert output.keys() == {"json", "verbose", "srt"}
    assert all(found["response"]["status_code"] == 200 and found["error"] is None for found in output.values())
    assert output["json"]["response"]["body"].keys() == {"text", "usage"}
    assert output["verbose"]["response"]["body"]["words"]
    assert "-->" in output["srt"]["response"]["body"]
    errors = lines_of(client, batch.error_file_id)
    assert {name: found["response"]["status_code"] for name, found in errors.items()} == {
        "missing": 404,
        "no-audio": 400,
        "wrong": 400,
        "private": 400,
    }
    assert errors["wrong"]["response"]["body"]["error"]["param"] == "response_format"
    job = web.get(f"/v1/jobs/{output['json']['response']['request_id']}").json()
    assert (job["priority"], job["labels"]) == (9, {"batch_id": batch.id, "custom_id": "json"})
    assert batch.id in [found.id for found in client.batches.list(limit=1)]


def test_a_batch_with_a_wrong_line_fails_and_names_it(client: openai.OpenAI) -> None:
    batch = ended(client, begin(client, [line("a"), "{", line("a")]))
    assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
    assert [(error.code, error.line) for error in batch.errors.data] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
    ]
    assert batch.output_file_id is None


def test_what_is_no_batch_is_refused(client: openai.OpenAI, audio: str) -> None:
    with pytest.raises(openai.BadRequestError, match="endpoint"):
        client.batches.create(input_file_id=audio, endpoint="/v1/embeddings", completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="not for batch"):
        begin_with(client, audio)
    with pytest.raises(openai.NotFoundError):
        begin_with(client, "file-none")
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")


def begin_with(client: openai.OpenAI, file_id: str) -> None:
    endpoint: Any = "/v1/audio/transcriptions"
    client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h")


def test_a_batch_is_cancelled_and_keeps_what_it_has(client: openai.OpenAI, audio: str) -> None:
    batch = begin(client, [line(str(number), file_id=audio) for number in range(300)])
    wait_until(lambda: (counts := client.batches.retrieve(batch.id).request_counts) and counts.completed > 0, 60)
    assert client.batches.cancel(batch.id).status in ("cancelling", "finalizing", "cancelled")
    batch = ended(client, batch)
    assert batch.status == "cancelled" and batch.request_counts is not None
    output, errors = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    assert len(output) == batch.request_counts.completed > 0
    assert len(output) + len(errors) == 300
    assert {found["error"]["code"] for found in errors.values()} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_a_batch_survives_the_server_that_began_it(
    client: openai.OpenAI, audio: str, served: ServedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server with its own clerk submits and ends the batch; every line has one job."""
    monkeypatch.setattr(clerk, "LEASE_SECONDS", 1.0)  # two clerks do the same step at once
    batch = begin(client, [line(str(number), file_id=audio) for number in range(30)])
    with (
        running_server(served.fleet.settings) as other,
        openai.OpenAI(base_url=f"{other}/v1", api_key="unused") as second,
    ):
        batch = ended(second, batch)
        assert batch.status == "completed"
        assert len(lines_of(second, batch.output_file_id)) == 30
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 30, "completed": 30, "failed": 0}
