"""Uploads that are too large, too slow, broken or hostile: the right status, and nothing left on the disk."""

from __future__ import annotations

import contextlib
import gzip
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery import Celery
from redis import Redis

from tests.support.http_server import running_server
from tests.support.waiting import wait_until
from whisper_fleet.http import connections
from whisper_fleet.http.app import create_app
from whisper_fleet.http.uploads import body, multipart
from whisper_fleet.scheduler.services import make_services
from whisper_fleet.scheduler.upkeep.janitor import Janitor
from whisper_fleet.shared.audio.sources import opened, source_of
from whisper_fleet.shared.errors import EmptyFile, UploadMissing
from whisper_fleet.shared.http.upload_keepers import RECEIVING_LEASE
from whisper_fleet.shared.http.uploads import Uploads, address_of, new_id
from whisper_fleet.shared.ledger import keys
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration

LIMIT = 10**6
PATH = "/v1/audio/transcriptions"
#: Every route that receives a form.
PATHS = (PATH, "/v1/audio/translations", "/v1/files", "/v1/jobs")
BOUNDARY = "b" * 32
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
).encode()
TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url, var_dir=tmp_path / "var", model_dir=tmp_path, http_max_upload_bytes=LIMIT, host="here"
    )


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with running_server(settings) as address:
        yield address


def left(settings: Settings) -> list[Path]:
    return list(settings.uploads.iterdir()) if settings.uploads.exists() else []


def code_of(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["x-request-id"]
    return response.status_code, response.json()["error"]["code"]


def test_every_route_that_receives_a_form_is_attacked() -> None:
    schema = create_app(Settings()).openapi()
    forms = {
        path
        for path, operations in schema["paths"].items()
        for operation in operations.values()
        if "multipart/form-data" in operation.get("requestBody", {}).get("content", {})
    }
    assert forms == set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_declares_too_many_bytes_is_refused_before_it_comes(
    url: str, settings: Settings, path: str
) -> None:
    host = httpx.URL(url)
    with socket.create_connection((host.host, host.port or 0), timeout=20) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {10 * 2**30}\r\n"
        connection.sendall(head.encode() + b"content-type: " + TYPE["content-type"].encode() + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert left(settings) == []


@pytest.mark.parametrize("path", PATHS)
def test_a_body_of_unknown_length_is_refused_at_the_limit(
    url: str, settings: Settings, redis: Redis, path: str
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield HEAD
        for _ in range(10 * 2**14):  # 10 GB, of which the server takes one MB
            sent += 2**16
            yield bytes(2**16)

    response = httpx.post(url + path, content=endless(), headers=TYPE, timeout=60)
    assert code_of(response) == (413, "file_too_large")
    assert sent < 2**28
    assert left(settings) == []
    assert redis.keys(keys.upload("*")) == []


def test_a_resumable_upload_that_declares_or_sends_too_much_is_refused(
    url: str, settings: Settings, redis: Redis
) -> None:
    tus = {"tus-resumable": "1.0.0", "upload-length": str(10 * 2**30)}
    assert code_of(httpx.post(url + "/v1/uploads", headers=tus)) == (413, "file_too_large")
    assert (left(settings), redis.keys(keys.resumable("*"))) == ([], [])
    address = httpx.post(url + "/v1/uploads", headers={**tus, "upload-length": "10"}).headers["location"]
    piece = {**tus, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    host = httpx.URL(url)
    with socket.create_connection((host.host, host.port or 0), timeout=20) as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in piece.items())
        lines += f"host: localhost\r\ncontent-length: {2**40}\r\n"
        connection.sendall(f"PATCH {address} HTTP/1.1\r\n{lines}\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert [file.stat().st_size for file in left(settings)] == [0]
    assert httpx.delete(url + address, headers=tus).status_code == 204
    assert (left(settings), redis.keys(keys.resumable("*")), redis.keys(keys.upload("*"))) == ([], [], [])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("coding", ["gzip", "br, gzip", "x" * 1000])
def test_a_compressed_body_is_refused_unread(url: str, settings: Settings, path: str, coding: str) -> None:
    bomb = gzip.compress(HEAD + bytes(2**24))
    response = httpx.post(url + path, content=bomb, headers={**TYPE, "content-encoding": coding}, timeout=60)
    assert code_of(response) == (415, "unsupported_media_type")
    assert left(settings) == []


def test_headers_that_do_not_end_are_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HEADER_SECONDS", 0.5)
    host = httpx.URL(url)
    with socket.create_connection((host.host, host.port or 0), timeout=20) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n".encode())
        with contextlib.suppress(OSError):
            for _ in range(1000):  # a byte now and then does not help
                connection.sendall(b"x")
                time.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            assert connection.recv(65536) == b""
    assert httpx.get(url + "/health").status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dripping", [False, True])
def test_a_client_that_stalls_is_given_up(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, dripping: bool, path: str
) -> None:
    monkeypatch.setattr(body, "SILENCE_SECONDS", 5.0 if dripping else 0.3)
    monkeypatch.setattr(body, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(body, "SLOWEST", 10_000.0)

    def slow() -> Iterator[bytes]:
        yield HEAD
        for _ in range(40 if dripping else 1):
            time.sleep(0.1 if dripping else 2.0)
            yield b"x"

    response = httpx.post(url + path, content=slow(), headers=TYPE, timeout=60)
    assert code_of(response) == (408, "timeout")
    assert left(settings) == []


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "application/json"}, b"{}", 415),
        ({}, b"", 415),
        ({"content-type": "multipart/form-data"}, b"", 400),
        ({"content-type": f"multipart/form-data; boundary={'x' * 5000}"}, b"", 400),
        (TYPE, b"no boundary at all", 400),
        (TYPE, HEAD + b"sound without an end", 400),
        (TYPE, HEAD + f"sound\r\n--{BOUNDARY}--\r\n".encode() + b"", 200),
        (TYPE, HEAD + b"1\r\n" + HEAD + f"2\r\n--{BOUNDARY}--\r\n".encode(), 400),
        (TYPE, f"--{BOUNDARY}\r\nX: y\r\n\r\nz\r\n--{BOUNDARY}--\r\n".encode(), 400),
        (TYPE, f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n'.encode() + bytes(70_000), 400),
        (TYPE, f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'.encode() * 201, 400),
        (TYPE, f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 10_000, 400),
    ],
)
def test_a_body_that_is_not_a_form_is_refused(
    url: str, settings: Settings, redis: Redis, headers: dict[str, str], content: bytes, status: int
) -> None:
    if status == 200:  # it is a form, and its job waits for a fleet
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url + PATH, content=content, headers=headers, timeout=1)
        wait_until(lambda: not left(settings))
        return
    response = httpx.post(url + PATH, content=content, headers=headers, timeout=60)
    assert response.status_code == status
    assert left(settings) == []
    assert redis.keys(keys.upload("*")) == []


def test_a_client_that_disconnects_in_the_middle_leaves_nothing(url: str, settings: Settings, redis: Redis) -> None:
    host = httpx.URL(url)
    with socket.create_connection((host.host, host.port or 0), timeout=20) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000\r\n"
        connection.sendall(head.encode() + b"content-type: " + TYPE["content-type"].encode() + b"\r\n\r\n" + HEAD)
        wait_until(lambda: left(settings))
    wait_until(lambda: not left(settings))
    assert redis.keys(keys.upload("*")) == []


def test_the_lease_of_an_upload_is_renewed_while_its_body_flows(
    url: str, settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed server's upload is kept for two minutes, and that of a slow client for as long as it takes."""
    monkeypatch.setattr(multipart, "RENEWAL_SECONDS", 0.0)
    left_seconds = list[int]()

    def slow() -> Iterator[bytes]:
        yield HEAD
        for _ in range(3):
            wait_until(lambda: redis.keys(keys.upload("*")))
            [name] = redis.keys(keys.upload("*"))
            assert 0 < redis.pttl(name) <= RECEIVING_LEASE * 1000
            redis.pexpire(name, 20_000)
            yield b"x" * 2**10
            wait_until(lambda name=name: redis.pttl(name) > 20_000)  # type: ignore[misc]
            left_seconds.append(redis.pttl(name))

    httpx.post(url + PATH, content=slow(), headers=TYPE, timeout=60)  # it has no end
    assert len(left_seconds) == 3
    assert left(settings) == []
    assert redis.keys(keys.upload("*")) == []


def test_uploads_are_read_on_other_hosts(url: str, settings: Settings, tmp_path: Path) -> None:
    Uploads(settings).prepare()
    upload = new_id("Talk.MP3")
    (settings.uploads / upload).write_bytes(b"sound")
    address = address_of(upload)
    with opened(address, settings) as path:
        assert (path.read_bytes(), path.suffix) == (b"sound", ".mp3")
    elsewhere = settings.model_copy(update={"var_dir": tmp_path / "elsewhere"})
    with pytest.raises(UploadMissing):
        source_of(address).check(address, elsewhere)
    connected = elsewhere.model_copy(update={"upload_urls": ("http://127.0.0.1:1", url)})
    source_of(address).check(address, connected)
    with opened(address, connected) as path:
        assert path.read_bytes() == b"sound"
    missing = address_of(new_id("a.mp3"))
    with pytest.raises(UploadMissing), opened(missing, connected):
        pass
    (settings.uploads / upload).write_bytes(b"")
    with pytest.raises(EmptyFile):
        source_of(address).check(address, settings)


@pytest.mark.parametrize("address", ["upload://../../etc/passwd", "upload://x", "upload://", f"upload://{'A' * 48}"])
def test_an_id_never_leads_out_of_the_directory(settings: Settings, address: str) -> None:
    with pytest.raises(UploadMissing):
        source_of(address).check(address, settings)


def test_the_janitor_deletes_what_nothing_keeps(settings: Settings, redis: Redis) -> None:
    Uploads(settings).prepare()
    lost, stored, running, ended = (new_id(f"{name}.wav") for name in ("lost", "stored", "running", "ended"))
    for upload in (lost, stored, running, ended):
        (settings.uploads / upload).write_bytes(b"sound")
    redis.set(keys.upload(stored), "", ex=100)
    for upload, job, state in ((running, "j1", "running"), (ended, "j2", "done")):
        redis.hset(keys.job(job), "state", state)
        redis.set(keys.upload(upload), job)
    janitor = Janitor(make_services(Celery(broker=settings.redis_url, set_as_current=False), settings))
    janitor.tick(time.time())
    assert {path.name for path in left(settings)} == {lost, stored, running, ended}  # they are too young
    janitor.tick(time.time() + 100)
    assert {path.name for path in left(settings)} == {stored, running}
    assert redis.exists(keys.upload(ended)) == 0
