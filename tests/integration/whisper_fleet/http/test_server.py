"""The server before any job: who may call it, what errors look like, and what it says of the fleet."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute
from redis import Redis

from tests.support.http_server import running_server
from tests.support.redis_server import RedisServer
from whisper_fleet.http.routes import ROUTERS
from whisper_fleet.shared.http.api_keys import KeyLimits, KeyStore, Scope, new_key
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, var_dir=tmp_path / "var", model_dir=tmp_path, http_max_upload_bytes=10**6)


@pytest.fixture
def http(settings: Settings) -> Iterator[httpx.Client]:
    with running_server(settings) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def key_of(redis: Redis, *scopes: Scope, tenant: str = "acme") -> dict[str, str]:
    key, token = new_key(tenant, scopes, KeyLimits(), time.time())
    KeyStore(redis).add(key)
    return {"authorization": f"Bearer {token}"}


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of an error, and check the form of every error."""
    assert response.headers["x-request-id"].startswith("req_")
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"]


def test_health_and_models_are_served_to_this_machine(http: httpx.Client, settings: Settings) -> None:
    (settings.models / "tiny.pt").touch()
    for page in ("/health", "/livez", "/readyz"):
        assert http.get(page).json() == {"status": "ok"}
    models = http.get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["whisper-1", "base", "tiny"]
    assert http.get("/v1/models/tiny").json() == models["data"][2]
    assert error_of(http.get("/v1/models/gpt-9")) == (404, "model_not_found")


def test_every_error_has_openais_form(http: httpx.Client) -> None:
    assert error_of(http.get("/nothing")) == (404, "not_found")
    assert error_of(http.delete("/v1/models")) == (405, "method_not_allowed")
    assert error_of(http.get("/internal/uploads/..%2F..%2Fetc%2Fpasswd")) == (404, "not_found")


def test_without_keys_only_this_machine_is_served(http: httpx.Client) -> None:
    assert error_of(http.get("/v1/models", headers={"x-forwarded-for": "8.8.8.8"})) == (403, "insufficient_permissions")
    assert error_of(http.get("/v1/models", headers={"host": "evil.example"})) == (403, "insufficient_permissions")
    assert error_of(http.get("/v1/models", headers={"origin": "https://evil.example"}))[0] == 403
    assert http.get("/v1/models", headers={"authorization": "Bearer anything"}).status_code == 200


def test_with_keys_everybody_needs_one_that_has_the_scope(http: httpx.Client, redis: Redis) -> None:
    reader, submitter = key_of(redis, Scope.READ), key_of(redis, Scope.SUBMIT)
    assert http.get("/v1/models", headers=reader).status_code == 200
    assert http.get("/v1/models", headers={**reader, "x-forwarded-for": "8.8.8.8"}).status_code == 200
    assert error_of(http.get("/v1/models", headers=submitter)) == (403, "insufficient_permissions")
    wrong = {"authorization": reader["authorization"][:-1] + "!"}
    for headers in ({}, wrong, {"authorization": "Bearer sk-123"}):
        response = http.get("/v1/models", headers=headers)
        assert error_of(response) == (401, "invalid_api_key")
        assert response.headers["www-authenticate"] == "Bearer"
    (key, *_) = KeyStore(redis).all()
    KeyStore(redis).add(key.model_copy(update={"revoked": 1.0}))
    assert error_of(http.get("/v1/models", headers=reader)) == (401, "invalid_api_key")
    assert http.get("/health").status_code == 200


def test_redis_that_is_down_is_an_outage_and_not_a_failure(http: httpx.Client, redis_server: RedisServer) -> None:
    redis_server.kill()
    response = http.get("/health", timeout=60)
    assert error_of(response) == (503, "service_unavailable")
    assert int(response.headers["retry-after"]) > 0
    redis_server.start()
    assert http.get("/health").status_code == 200


def test_headers_above_the_limit_end_the_connection(http: httpx.Client) -> None:
    with socket.create_connection((http.base_url.host, http.base_url.port or 0), timeout=20) as connection:
        lines = b"".join(b"x-%d: 1\r\n" % number for number in range(100_000))
        with contextlib.suppress(OSError):  # the server may have closed the connection by then
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + lines)
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"x-request-id" in answer


def test_every_route_has_a_caller_but_the_public_ones() -> None:
    public = set()
    for route in (route for router in ROUTERS for route in router.routes):
        assert isinstance(route, APIRoute)
        calls = [getattr(each.call, "__qualname__", "") for each in route.dependant.dependencies]
        if not any(call.startswith("requires.") for call in calls):
            public.add(route.path)
    page = {"/", "/favicon.ico", "/page/{digest}/{path:path}"}
    checks_itself = {"/v1/jobs/{job}/audio"}  # by a key or by a ticket
    assert public == {"/health", "/livez", "/readyz", "/internal/uploads/{upload}"} | page | checks_itself
