"""Every route through real HTTP, from callers who may not: without a key, with a wrong one, without the scope, and
with the key of another tenant. Each gets the right status, and nothing changes in Redis or on the disk.

The routes are those of the OpenAPI description. One with an id that this file does not know fails the first test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import httpx
import pytest
from redis import Redis

from tests.integration.whisper_fleet.http.test_server import error_of, key_of
from tests.support.http_server import running_server
from whisper_fleet.http.app import create_app
from whisper_fleet.shared.http.api_keys import Scope
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration

TUS = {"tus-resumable": "1.0.0"}
#: What a route needs before it looks at the id.
HEADERS = {"PATCH": {**TUS, "upload-offset": "0", "content-type": "application/offset+octet-stream"}}
PUBLIC = {"GET /health", "GET /livez", "GET /readyz"}
#: What has no owner.
SHARED = {"GET /v1/models/{model}"}
#: The API keys, which the test makes, and what counts their use, refused or not.
COUNTERS = re.compile(rb"fleet:(usage|key_rate|key_jobs|api_keys)")


def routes() -> list[str]:
    """Every route as `METHOD /path`."""
    paths = create_app(Settings()).openapi()["paths"]
    return [f"{method.upper()} {path}" for path, operations in paths.items() for method in operations]


WITH_ID = [route for route in routes() if "{" in route and route not in SHARED]


@dataclass(frozen=True)
class Served:
    """A server, and the ids of what the tenant `acme` has there."""

    settings: Settings
    redis: Redis
    web: httpx.Client
    owner: dict[str, str]
    ids: dict[str, str]

    def send(self, route: str, headers: dict[str, str], **ids: str) -> httpx.Response:
        method, _, path = route.partition(" ")
        path = re.sub(r"{(\w+)}", lambda match: (ids or self.ids)[match[1]], path)
        return self.web.request(method, path, headers={**HEADERS.get(method, {}), **headers})

    def check(self, before: tuple[dict[bytes, bytes | None], dict[str, bytes]]) -> None:
        """Check that nothing has changed since."""
        (redis, files), (redis_before, files_before) = self.state(), before
        changed = {name for name in redis | redis_before if redis.get(name) != redis_before.get(name)}
        assert (changed, files) == (set(), files_before)

    def state(self) -> tuple[dict[bytes, bytes | None], dict[str, bytes]]:
        """Return everything in Redis but the counters of use, and everything on the disk."""
        names = cast("list[bytes]", self.redis.keys("*"))
        kept = {name: self.redis.dump(name) for name in names if not COUNTERS.match(name)}
        uploads = self.settings.uploads
        return kept, {path.name: path.read_bytes() for path in uploads.iterdir()} if uploads.exists() else {}


@pytest.fixture(scope="module")
def redis_server_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.support.redis_server import RedisServer

    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server.url
    finally:
        server.kill()


@pytest.fixture(scope="module")
def served(redis_server_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("strangers")
    settings = Settings(redis_url=redis_server_of_module, var_dir=folder / "var", model_dir=folder)
    with (
        Redis.from_url(redis_server_of_module) as redis,
        running_server(settings) as url,
        httpx.Client(base_url=url, timeout=60) as web,
    ):
        owner = key_of(redis, Scope.SUBMIT, Scope.READ, tenant="acme")
        sound = {"file": ("secret.wav", b"secret sound")}
        job = web.post("/v1/jobs", headers=owner, files=sound).json()["id"]
        lines = {"file": ("lines.jsonl", b"{}")}
        file = web.post("/v1/files", headers=owner, files=lines, data={"purpose": "batch"}).json()["id"]
        order = {"input_file_id": file, "endpoint": "/v1/audio/transcriptions", "completion_window": "24h"}
        batch = web.post("/v1/batches", headers=owner, json=order).json()["id"]
        upload = web.post("/v1/uploads", headers={**owner, **TUS, "upload-length": "9"}).headers["location"]
        wait_for_batch(web, owner, batch)
        ids = {"job": job, "file_id": file, "batch_id": batch, "upload_id": upload.rpartition("/")[2]}
        yield Served(settings, redis, web, owner, ids)


def wait_for_batch(web: httpx.Client, owner: dict[str, str], batch: str) -> None:
    """Wait until the batch has failed, because its line is wrong, so that nothing changes by itself any more."""
    from tests.support.waiting import wait_until

    wait_until(lambda: web.get(f"/v1/batches/{batch}", headers=owner).json()["status"] == "failed", 60)


def test_every_id_in_an_address_is_one_of_these(served: Served) -> None:
    assert {name for route in WITH_ID for name in re.findall(r"{(\w+)}", route)} == set(served.ids)
    assert len(WITH_ID) >= 16
    for route in WITH_ID:
        method = route.partition(" ")[0]
        if method == "GET" and not route.endswith(("/events", "/audio", "/transcript")):
            assert served.send(route, served.owner).status_code == 200, route


@pytest.mark.parametrize("route", WITH_ID)
def test_what_belongs_to_another_tenant_does_not_exist(served: Served, route: str) -> None:
    stranger = key_of(served.redis, Scope.SUBMIT, Scope.READ, tenant="other")
    before = served.state()
    theirs = served.send(route, stranger)
    nothing = served.send(route, stranger, **dict.fromkeys(served.ids, "nothing"))
    if route.startswith("HEAD"):
        assert (theirs.status_code, theirs.content) == (404, b"")
    else:
        assert error_of(theirs)[0] == 404
        same = [re.sub("|".join([*served.ids.values(), "nothing"]), "ID", each.text) for each in (theirs, nothing)]
        assert same[0] == same[1]  # it cannot be told apart from what is not there
    served.check(before)


@pytest.mark.parametrize("route", [route for route in routes() if route not in PUBLIC])
def test_a_key_is_needed_and_must_have_the_scope(served: Served, route: str) -> None:
    ids = {**served.ids, "model": "tiny"}
    reader, submitter = (key_of(served.redis, scope, tenant="acme") for scope in (Scope.READ, Scope.SUBMIT))
    before = served.state()
    token = served.owner["authorization"]
    for wrong in (
        {},
        {"authorization": token[:-1] + "!"},
        {"authorization": "Bearer wf_"},
        {"authorization": token[7:]},
    ):
        response = served.send(route, wrong, **ids)
        assert response.status_code == 401, route
        assert response.headers["www-authenticate"] == "Bearer"
    served.check(before)
    if route.startswith(("GET /v1", "POST /v1/jobs/{job}/audio")):
        assert served.send(route, submitter, **ids).status_code == 403
    else:
        assert served.send(route, reader, **ids).status_code == 403
    served.check(before)


def test_lists_show_only_what_is_the_callers(served: Served) -> None:
    stranger = key_of(served.redis, Scope.SUBMIT, Scope.READ, tenant="other")
    for path in ("/v1/jobs", "/v1/files", "/v1/batches", "/v1/usage"):
        assert served.web.get(path, headers=served.owner).json()["data"]
        assert "acme" not in served.web.get(path, headers=stranger).text
        assert not any(name in served.web.get(path, headers=stranger).text for name in served.ids.values())


def test_a_job_names_only_the_callers_own_files_and_tenant(served: Served) -> None:
    stranger = key_of(served.redis, Scope.SUBMIT, Scope.READ, tenant="other")
    before = served.state()
    for body in ({"file_id": served.ids["file_id"]}, {"file_id": served.ids["upload_id"]}):
        assert error_of(served.web.post("/v1/jobs", headers=stranger, json=body))[0] == 404
    order = {"input_file_id": served.ids["file_id"], "endpoint": "/v1/audio/transcriptions", "completion_window": "24h"}
    assert error_of(served.web.post("/v1/batches", headers=stranger, json=order))[0] == 404
    claimed = {"file_path": "/etc/passwd", "tenant": "acme"}
    assert error_of(served.web.post("/v1/jobs", headers=stranger, json=claimed))[0] == 403
    served.check(before)
