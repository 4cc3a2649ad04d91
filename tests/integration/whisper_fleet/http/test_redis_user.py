"""The HTTP server works with the rights of its own Redis user, and that user can do no more than the server needs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from tests.integration.whisper_fleet.http.test_conformance import CLIP, ROWS, SHORT
from tests.integration.whisper_fleet.http.test_server import key_of
from tests.support.fleet_processes import ALL, running_fleet
from tests.support.http_server import running_server
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until
from whisper_fleet.cli.machine.redis_acl import has_rights_to_read
from whisper_fleet.deploy.redis.users import HTTP
from whisper_fleet.http import app
from whisper_fleet.shared.http.api_keys import Scope

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

TUS = {"tus-resumable": "1.0.0"}


@dataclass(frozen=True)
class Guarded:
    """A server whose Redis lets it in as its own user only."""

    admin: Redis
    user_url: str
    web: httpx.Client


@pytest.fixture
def guarded(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    monkeypatch.setattr(app, "_COUNT_INTERVAL", 0.2)
    monkeypatch.setattr(app, "_ABANDONED_INTERVAL", 0.2)
    server = RedisServer(tmp_path)
    server.start()
    options = {"default_model": str(tiny_model), "default_precision": "float32"}
    try:
        with (
            Redis.from_url(server.url) as admin,
            running_fleet(ALL, server.url, tmp_path, tiny_model.parent, **options) as fleet,
        ):
            version = cast("dict[str, Any]", admin.info("server"))["redis_version"]
            rights = HTTP.line("of http", has_read_rights=has_rights_to_read(version)).split()[1:]
            cast("Any", admin).execute_command("ACL", "SETUSER", *rights)
            user_url = server.url.replace("redis://", "redis://http:of%20http@")
            settings = fleet.settings.model_copy(update={"redis_url": user_url})
            with running_server(settings) as url, httpx.Client(base_url=url, timeout=100) as web:
                yield Guarded(admin, user_url, web)
    finally:
        server.kill()


def denials(admin: Redis) -> set[tuple[str, str, str]]:
    """Return what Redis denied, except the naming of connections, which redis-py tries and does without."""
    entries = cast("list[dict[str, Any]]", cast("Any", admin).acl_log(500))
    return {(str(e["username"]), str(e["reason"]), str(e["object"])) for e in entries if e["object"] != "client"}


def test_everything_works_with_these_rights(guarded: Guarded, tmp_path: Path) -> None:
    web = guarded.web
    failed = [row.feature for row in ROWS if not works(row.check, web)]
    assert (denials(guarded.admin), failed) == (set(), [])
    use_jobs(web)
    use_files_and_batches(web)
    headers = key_of(guarded.admin, Scope.ADMIN)
    web.headers.update(headers)
    use_jobs(web)
    for path in ("/v1/usage", "/v1/fleet", "/v1/models", "/v1/jobs/estimate?seconds=60", "/health", "/openapi.json"):
        assert web.get(path).status_code == 200
    wait_until(lambda: any(day["jobs"] for day in web.get("/v1/usage").json()["data"] if day["tenant"]), 60)
    assert denials(guarded.admin) == set()


def works(check: Any, web: httpx.Client) -> bool:
    with suppress(Exception):
        return bool(check(web))
    return False


def use_jobs(web: httpx.Client) -> None:
    """Use every route of jobs."""
    sent = {"files": {"file": (CLIP.name, CLIP.read_bytes())}, "data": {"language": "en", **SHORT}}
    job = web.post("/v1/jobs", **sent, headers={"idempotency-key": "a"}).json()["id"]  # type: ignore[arg-type]
    assert web.post("/v1/jobs", **sent, headers={"idempotency-key": "a"}).json()["id"] == job  # type: ignore[arg-type]
    assert web.post(f"/v1/jobs/{job}/audio/link").status_code in (201, 404)
    with web.stream("GET", f"/v1/jobs/{job}/events") as events:
        assert "event: end" in "".join(events.iter_text())
    assert web.get(f"/v1/jobs/{job}/transcript?format=srt").status_code == 200
    assert web.get("/v1/jobs?state=done&label=a:b").status_code == 200
    path = web.post("/v1/jobs", json={"file_path": str(CLIP), "language": "en", "sample_len": 4}).json()["id"]
    web.post(f"/v1/jobs/{path}/cancel")
    wait_until(lambda: web.get(f"/v1/jobs/{path}").json()["state"] in ("cancelled", "done"), 60)
    wait_until(lambda: web.post(f"/v1/jobs/{path}/retry").status_code == 201, 60, interval=0.2)
    for each in web.get("/v1/jobs?limit=100").json()["data"]:
        wait_until(lambda each=each: web.delete(f"/v1/jobs/{each['id']}").status_code in (200, 404), 60, interval=0.2)  # type: ignore[misc]


def use_files_and_batches(web: httpx.Client) -> None:
    """Upload a file in pieces, transcribe it in a batch, and delete everything."""
    data = CLIP.read_bytes()
    name = base64.b64encode(b"a.wav").decode()
    headers = {**TUS, "upload-length": str(len(data)), "upload-metadata": f"filename {name}"}
    address = web.post("/v1/uploads", headers=headers).headers["location"]
    piece = {**TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    assert web.patch(address, headers=piece, content=data).status_code == 204
    assert web.head(address, headers=TUS).status_code == 200
    file = address.rpartition("/")[2]
    body = {"file_id": file, "model": "whisper-1", "language": "en", **SHORT}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/audio/transcriptions", "body": body}
    lines = {"file": ("lines.jsonl", json.dumps(line).encode())}
    stored = web.post("/v1/files", files=lines, data={"purpose": "batch"}).json()["id"]
    order = {"input_file_id": stored, "endpoint": "/v1/audio/transcriptions", "completion_window": "24h"}
    batch = web.post("/v1/batches", json=order).json()["id"]
    wait_until(lambda: web.get(f"/v1/batches/{batch}").json()["status"] == "completed", 100, interval=0.2)
    output = web.get(f"/v1/batches/{batch}").json()["output_file_id"]
    assert json.loads(web.get(f"/v1/files/{output}/content").text)["response"]["status_code"] == 200
    cancelled = web.post("/v1/batches", json=order).json()["id"]
    web.post(f"/v1/batches/{cancelled}/cancel")
    wait_until(lambda: web.get(f"/v1/batches/{cancelled}").json()["status"] in ("cancelled", "completed"), 100)
    assert web.get("/v1/batches").json()["data"]
    for each in web.get("/v1/files").json()["data"]:
        assert web.delete(f"/v1/files/{each['id']}").status_code == 200
    web.delete(address, headers=TUS)


def test_the_user_can_neither_take_messages_nor_administer(guarded: Guarded) -> None:
    with Redis.from_url(guarded.user_url) as user:
        command = cast("Any", user).execute_command
        for words in (
            ("RPOP", "transcribe"),
            ("DEL", "gpu.testhost.0"),
            ("LPUSH", "gpu.testhost.0", "x"),
            ("HSET", "unacked", "a", "b"),
            ("KEYS", "*"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
        ):
            with pytest.raises(NoPermissionError):
                command(*words)
