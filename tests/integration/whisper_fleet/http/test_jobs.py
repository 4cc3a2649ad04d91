"""The jobs API against a fleet with a tiny model: submit in every way, follow, read, cancel, delete."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.support.waiting import wait_until
from whisper_fleet.shared.formats import WRITERS
from whisper_fleet.shared.http.api_keys import KeyLimits, KeyStore, Scope, new_key
from whisper_fleet.shared.http.uploads import Uploads
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.transcript import Transcript

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SAMPLES = Path(__file__).parents[4] / "whisper_fleet" / "samples"
CLIP = SAMPLES / "sense_and_sensibility-0880.wav"
SHORT = {"sample_len": 12, "logprob_threshold": -100.0, "no_speech_threshold": 1.0, "language": "en"}


@pytest.fixture
def redis(served: ServedFleet) -> Redis:
    return served.fleet.redis


def form(**fields: Any) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in {**SHORT, **fields}.items()}


def upload(web: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    with CLIP.open("rb") as file:
        return web.post("/v1/jobs", files={"file": ("talk.wav", file)}, data=form(**fields), headers=headers)


def submit(web: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = web.post("/v1/jobs", json={**SHORT, "file_path": str(CLIP), **fields})
    assert response.status_code == 201, response.text
    job: dict[str, Any] = response.json()
    return job


def done(web: httpx.Client, job: str) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    def has_ended() -> bool:
        shown.update(web.get(f"/v1/jobs/{job}").json())
        return shown["state"] in ("done", "failed", "cancelled")

    wait_until(has_ended, 100)
    return shown


def test_an_upload_becomes_a_job_with_a_transcript_in_every_format(web: httpx.Client, served: ServedFleet) -> None:
    response = upload(web, labels={"project": "x"}, word_timestamps=True)
    assert response.status_code == 201
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["labels"] == {"file_name": "talk.wav", "project": "x"}
    assert (job["file_name"], job["source"]) == ("talk.wav", None)
    shown = done(web, job["id"])
    assert (shown["state"], shown["error"], shown["progress"]["stage"]) == ("done", None, "done")
    assert shown["duration"] == pytest.approx(2.7, abs=0.5)
    address = f"/v1/jobs/{job['id']}/transcript"
    result = web.get(address).json()
    assert result["segments"][0]["words"]
    written = WRITERS["txt"](Transcript.model_validate(result, extra="ignore"))
    assert web.get(address, params={"format": "txt"}).text == written
    assert "-->" in web.get(address, params={"format": "srt"}).text
    assert web.get(address, params={"format": "vtt"}).text.startswith("WEBVTT")
    assert web.get(address, params={"format": "tsv"}).text.startswith("start\tend\ttext\n")
    assert web.get(address, params={"format": "doc"}).status_code == 400


def test_labels_of_a_form_may_be_a_text(web: httpx.Client) -> None:
    assert upload(web, labels="a=b,c=d").json()["labels"] == {"a": "b", "c": "d", "file_name": "talk.wav"}


def test_a_job_that_failed_has_its_reason_and_no_transcript(web: httpx.Client) -> None:
    job = submit(web, file_path="/no.wav")
    shown = done(web, job["id"])
    assert (shown["state"], shown["error"]["type"]) == ("failed", "FileMissing")
    response = web.get(f"/v1/jobs/{job['id']}/transcript")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "job_failed")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "file_path"),
        ({"file_path": str(CLIP), "priority": 99}, None),
        ({"file_path": str(CLIP), "labels": {"": "x"}}, None),
        ({"file_path": str(CLIP), "model": "nonsense"}, "model"),
        ({"file_path": "upload://" + "0" * 48}, "file_path"),
        ({"file_id": "file-none"}, "id"),
        ({"file_path": str(CLIP), "nonsense": 1}, None),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_stored(
    web: httpx.Client, body: dict[str, Any], param: str | None
) -> None:
    response = web.post("/v1/jobs", json=body)
    assert response.status_code in (400, 404), response.text
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("body", ["{", "[]", '"x"', "[" * 100_000])
def test_a_body_that_is_no_object_is_refused(web: httpx.Client, body: str) -> None:
    response = web.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400


def test_an_idempotency_key_means_one_job(web: httpx.Client, served: ServedFleet) -> None:
    before = set(Uploads(served.fleet.settings).all())
    key = {"idempotency-key": uuid.uuid4().hex}
    first, second = upload(web, key), upload(web, key)
    assert first.json()["id"] == second.json()["id"]
    other = upload(web, key, priority=3)
    assert (other.status_code, other.json()["error"]["type"]) == (422, "invalid_request_error")
    done(web, first.json()["id"])
    assert upload(web, key).json()["state"] == "done"
    # At most two are kept until the janitor comes: those of jobs.
    assert len(set(Uploads(served.fleet.settings).all()) - before) <= 2


def test_jobs_are_listed_by_label_state_and_time_page_by_page(web: httpx.Client) -> None:
    name = uuid.uuid4().hex
    before = time.time()
    jobs = [submit(web, file_path="/no.wav", labels={"run": name, "n": str(number)})["id"] for number in range(5)]
    for job in jobs:
        done(web, job)
    seen, cursor = [], None
    while True:
        params: dict[str, Any] = {"label": f"run:{name}", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = web.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert seen == jobs[::-1]

    def listed(**params: Any) -> list[str]:
        found = web.get("/v1/jobs", params={"label": f"run:{name}", "limit": 100, **params}).json()["data"]
        return [job["id"] for job in found]

    assert listed(state="failed") == jobs[::-1]
    assert listed(state=["done", "running"]) == []
    assert listed(after=before) == jobs[::-1]
    assert listed(before=before) == []
    assert web.get("/v1/jobs", params={"label": [f"run:{name}", "n:3"]}).json()["data"][0]["id"] == jobs[3]
    assert web.get("/v1/jobs", params={"cursor": "nonsense"}).status_code == 400
    assert web.get("/v1/jobs", params={"label": "nonsense"}).status_code == 400


def keys_with(redis: Redis, job: str) -> list[bytes]:
    """Return the keys whose names hold the job's id, but for the note that it was deleted, which expires."""
    note = keys.deleted(job).encode()
    return [key for key in redis.scan_iter() if job.encode() in key and not (key == note and redis.ttl(note) > 0)]


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in response.iter_lines():
        if not line and event:
            yield event
            event = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


def test_progress_and_text_come_as_events_and_resume_where_the_client_was(web: httpx.Client) -> None:
    job = upload(web).json()["id"]
    with web.stream("GET", f"/v1/jobs/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(events_of(response))
    assert events[-1]["event"] == "end"
    end = events[-1]["data"]
    texts = [event for event in events if event["event"] == "text"]
    assert "".join(event["data"]["delta"] for event in texts) == end["text"] != ""
    assert (end["state"], end["error"]) == ("done", None)
    last = texts[0]["id"]
    with web.stream("GET", f"/v1/jobs/{job}/events", headers={"last-event-id": last}) as response:
        rest = [event["data"]["delta"] for event in events_of(response) if event["event"] == "text"]
    assert texts[0]["data"]["delta"] + "".join(rest) == end["text"]
    assert web.get("/v1/jobs/none/events").status_code == 404


def test_a_waiting_job_is_cancelled_and_deleted_with_everything(
    web: httpx.Client, redis: Redis, served: ServedFleet
) -> None:
    job = upload(web, priority=9).json()["id"]
    stopped = web.post(f"/v1/jobs/{job}/cancel").json()
    assert stopped["state"] in ("cancelled", "done")
    assert web.delete(f"/v1/jobs/{job}").json() == {"id": job, "object": "job", "deleted": True}
    assert keys_with(redis, job) == []
    assert web.get(f"/v1/jobs/{job}").status_code == 404
    assert web.delete(f"/v1/jobs/{job}").status_code == 404
    kept = {redis.get(key) for key in redis.keys("fleet:upload:*")}
    assert job.encode() not in kept


def is_planned(web: httpx.Client, job: str) -> bool:
    """Return whether intake is done with a job's message."""
    return bool(web.get(f"/v1/jobs/{job}").json()["state"] != "accepted")


def test_a_running_job_is_deleted_after_its_slots_stopped(web: httpx.Client, redis: Redis) -> None:
    jobs = [submit(web)["id"] for _ in range(6)]
    for job in jobs:
        # Before, intake still has the message, and Celery notes there that it was revoked.
        wait_until(partial(is_planned, web, job))
        assert web.delete(f"/v1/jobs/{job}").status_code == 200
    assert [key for job in jobs for key in keys_with(redis, job)] == []
    assert redis.zcard("fleet:active:testhost.0") == 0


def test_the_estimate_grows_with_the_backlog(web: httpx.Client, redis: Redis) -> None:
    redis.hset("fleet:speeds", "testhost.0", "10")
    found = web.get("/v1/jobs/estimate", params={"seconds": 600}).json()
    assert found["speed"] == 10
    assert found["total_seconds"] == pytest.approx(60 + found["wait_seconds"], abs=0.2)
    assert web.get("/v1/jobs/estimate", params={"seconds": "x"}).status_code == 400


def test_another_tenants_jobs_look_like_missing_and_paths_need_roots(web: httpx.Client, redis: Redis) -> None:
    mine = submit(web, file_path="/no.wav")["id"]

    def headers(tenant: str, *scopes: Scope) -> dict[str, str]:
        key, token = new_key(tenant, scopes, KeyLimits(), time.time())
        KeyStore(redis).add(key)
        return {"authorization": f"Bearer {token}"}

    try:
        other = headers("other", Scope.READ, Scope.SUBMIT)
        routes = (
            ("GET", ""),
            ("GET", "/transcript"),
            ("GET", "/events"),
            ("POST", "/cancel"),
            ("DELETE", ""),
        )
        for method, path in routes:
            response = web.request(method, f"/v1/jobs/{mine}{path}", headers=other)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
        assert web.get("/v1/jobs", headers=other).json()["data"] == []
        response = web.post("/v1/jobs", json={"file_path": str(CLIP)}, headers=other)
        assert response.status_code == 403 and "MEDIA_ROOTS" in response.json()["error"]["message"]
        response = upload(web, {**other, "idempotency-key": "k"}, tenant="acme")
        assert response.status_code == 403
        job = upload(web, other).json()
        assert job["tenant"] == "other"
        assert [listed["id"] for listed in web.get("/v1/jobs", headers=other).json()["data"]] == [job["id"]]
        admin = headers("ops", Scope.ADMIN)
        assert web.get(f"/v1/jobs/{job['id']}", headers=admin).status_code == 200
    finally:
        redis.delete("fleet:api_keys")
