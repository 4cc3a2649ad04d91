"""Resumable uploads as tus 1.0 defines them: begin, go on after a lost connection, end, expire."""

from __future__ import annotations

import base64
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.whisper_fleet.http.conftest import ServedFleet
from tests.support.waiting import wait_until
from whisper_fleet.shared.http.uploads import Uploads

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

SAMPLES = Path(__file__).parents[4] / "whisper_fleet" / "samples"
CLIP = SAMPLES / "sense_and_sensibility-0880.wav"
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}


def begin(web: httpx.Client, length: int, name: str = "tälk.wav") -> str:
    metadata = f"filename {base64.b64encode(name.encode()).decode()},empty"
    response = web.post("/v1/uploads", headers={**TUS, "upload-length": str(length), "upload-metadata": metadata})
    assert response.status_code == 201, response.text
    assert response.headers["tus-resumable"] == "1.0.0" and response.headers["upload-expires"].endswith("GMT")
    return response.headers["location"]


def append(web: httpx.Client, address: str, offset: int, data: Any) -> httpx.Response:
    return web.patch(address, headers={**PIECE, "upload-offset": str(offset)}, content=data)


def offset_of(web: httpx.Client, address: str) -> int:
    response = web.head(address, headers=TUS)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    return int(response.headers["upload-offset"])


def test_the_server_says_what_it_can(web: httpx.Client) -> None:
    response = web.options("/v1/uploads")
    assert response.status_code == 204
    assert response.headers["tus-version"] == "1.0.0"
    assert response.headers["tus-extension"] == "creation,expiration,termination"
    assert response.headers["tus-max-size"] == "100000000"


def test_a_file_that_comes_in_pieces_is_a_stored_file_and_a_job(web: httpx.Client) -> None:
    data = CLIP.read_bytes()
    address = begin(web, len(data))
    half = len(data) // 2
    assert append(web, address, 0, data[:half]).headers["upload-offset"] == str(half)
    assert offset_of(web, address) == half
    name = address.rpartition("/")[2]
    assert web.get(f"/v1/files/{name}").status_code == 404  # it is not complete
    assert append(web, address, half, data[half:]).status_code == 204
    assert offset_of(web, address) == len(data)
    file = web.get(f"/v1/files/{name}").json()
    assert (file["bytes"], file["filename"]) == (len(data), "tälk.wav")
    assert web.get(f"/v1/files/{name}/content").content == data
    job = web.post("/v1/jobs", json={"file_id": name, "language": "en", "sample_len": 8}).json()
    assert job["file_name"] == "tälk.wav"
    wait_until(lambda: web.get(f"/v1/jobs/{job['id']}").json()["state"] == "done", 100)
    assert web.get(f"/v1/files/{name}/content").content == data  # the job did not take it
    assert web.delete(address, headers=TUS).status_code == 204
    assert web.head(address).status_code == web.get(f"/v1/files/{name}").status_code == 404


def test_what_arrived_before_the_connection_was_lost_stays(web: httpx.Client, served: ServedFleet) -> None:
    address = begin(web, 1_000_000)
    head = f"PATCH {address} HTTP/1.1\r\nhost: localhost\r\nupload-offset: 0\r\ncontent-length: 1000000\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in PIECE.items())
    with socket.create_connection((web.base_url.host, web.base_url.port or 0)) as connection:
        connection.sendall((head + lines + "\r\n").encode() + b"x" * 400_000)
    wait_until(lambda: offset_of(web, address) == 400_000, 20)
    assert append(web, address, 400_000, b"y" * 600_000).status_code == 204
    assert web.delete(address, headers=TUS).status_code == 204


def test_a_wrong_offset_is_a_conflict_and_a_second_writer_is_locked_out(web: httpx.Client, served: ServedFleet) -> None:
    address = begin(web, 10)
    assert append(web, address, 5, b"x").status_code == 409
    assert append(web, address, 0, b"12345").status_code == 204
    assert append(web, address, 0, b"12345").status_code == 409
    [path] = [file for file in Uploads(served.fleet.settings).all() if file.stat().st_size == 5]
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert append(web, address, 5, b"6").status_code == 423
    assert append(web, address, 5, b"67890!").status_code == 413
    assert offset_of(web, address) == 5
    assert append(web, address, 5, b"67890").status_code == 204
    web.delete(address, headers=TUS)


def test_a_client_that_sends_more_than_it_declared_is_stopped(web: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"12345"
        yield b"67890!"

    address = begin(web, 10)
    assert append(web, address, 0, pieces()).status_code == 413
    assert offset_of(web, address) <= 10
    web.delete(address, headers=TUS)


def test_an_empty_file_is_complete_at_once(web: httpx.Client) -> None:
    address = begin(web, 0)
    assert web.get(f"/v1/files/{address.rpartition('/')[2]}").json()["bytes"] == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"upload-length": "1"}, 412),
        ({**TUS}, 400),
        ({**TUS, "upload-length": "-1"}, 400),
        ({**TUS, "upload-length": str(10**8 + 1)}, 413),
        ({**TUS, "upload-length": "1", "upload-metadata": "filename !"}, 400),
    ],
)
def test_what_cannot_begin_is_refused(web: httpx.Client, headers: dict[str, str], status: int) -> None:
    response = web.post("/v1/uploads", headers=headers)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    if status == 412:
        assert response.headers["tus-version"] == "1.0.0"


def test_what_is_no_piece_is_refused(web: httpx.Client) -> None:
    address = begin(web, 10)
    assert web.patch(address, headers={**TUS, "upload-offset": "0"}, content=b"x").status_code == 415
    assert web.patch(address, headers={**PIECE}, content=b"x").status_code == 400
    assert web.patch("/v1/uploads/file-none", headers={**PIECE, "upload-offset": "0"}, content=b"x").status_code == 404
    web.delete(address, headers=TUS)
