"""Files that a job names by URL: fetched where it is allowed, and spoken of by their URL."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shared.test_audio import CLIP
from tests.support.plan_audio import plan_audio
from whisper_fleet.shared import errors
from whisper_fleet.shared.audio.segments import read_segment
from whisper_fleet.shared.audio.sources import http as http_source
from whisper_fleet.shared.settings import Settings

pytestmark = pytest.mark.integration


class Redirecting(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; below /away everything lies elsewhere, and of what is below /torn half is sent."""

    def do_GET(self) -> None:
        if self.path.startswith("/torn"):
            self.send_response(200)
            self.send_header("Content-Length", str(CLIP.stat().st_size))
            self.end_headers()
            self.wfile.write(CLIP.read_bytes()[:100_000])
            return
        if self.path.startswith("/media/away"):
            self.send_response(302)
            self.send_header("Location", "/private/speech.wav")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = functools.partial(Redirecting, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_allowed_url_is_fetched_and_any_other_is_refused(tmp_path: Path) -> None:
    for folder in ("media", "private"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "speech.wav").write_bytes(CLIP.read_bytes())
    with served(tmp_path) as site:
        open_to_media = Settings(spool_dir=tmp_path / "spool", url_prefixes=(f"{site}/media/",))
        url = f"{site}/media/speech.wav"
        plan = plan_audio(url, "job", 300.0, open_to_media)
        assert len(read_segment(url, plan.segments[0], open_to_media)) == 113_600
        for other in (
            "/private/a.wav", "/mediation/a.wav", "/media/../private/a.wav", "/media/%2e%2E/private/a.wav",
            "/media/away",
        ):  # fmt: skip
            with pytest.raises(errors.UrlNotAllowed):
                plan_audio(site + other, "job", 300.0, open_to_media)
        with pytest.raises(errors.UrlUnavailable, match="404"):
            plan_audio(f"{site}/media/none.wav", "job", 300.0, open_to_media)
        with pytest.raises(errors.UrlNotAllowed):
            plan_audio("http://[not an address/a.wav", "job", 300.0, open_to_media)
        with pytest.raises(errors.UrlNotAllowed):
            plan_audio(url, "job", 300.0, Settings(spool_dir=tmp_path / "spool"))
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_is_wrong_with_a_fetched_file_is_said_of_its_url(tmp_path: Path) -> None:
    (tmp_path / "corrupt.mp3").write_bytes(b"this is no audio at all" * 100)
    (tmp_path / "empty.mp3").touch()
    with served(tmp_path) as site:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(site,))
        for name in ("corrupt.mp3", "empty.mp3"):
            with pytest.raises(errors.CorruptAudio, match=f"^{site}/{name} cannot be decoded"):
                plan_audio(f"{site}/{name}", "job", 300.0, settings)


def test_a_url_may_have_characters_that_are_not_ascii(tmp_path: Path) -> None:
    (tmp_path / "Grüße 1.wav").write_bytes(CLIP.read_bytes())
    with served(tmp_path) as site:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(site,))
        for url in (f"{site}/Grüße 1.wav", f"{site}/Gr%C3%BC%C3%9Fe%201.wav"):
            assert plan_audio(url, "job", 300.0, settings).duration > 7


def test_a_download_that_breaks_off_is_no_shorter_file(tmp_path: Path) -> None:
    with served(tmp_path) as site:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(site,))
        with pytest.raises(errors.UrlUnavailable, match="the connection ended 127244 bytes before"):
            plan_audio(f"{site}/torn/speech.wav", "job", 300.0, settings)
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_url_is_fetched_once_because_it_may_expire(tmp_path: Path) -> None:
    speech = tmp_path / "speech.wav"
    speech.write_bytes(CLIP.read_bytes())
    with served(tmp_path) as site:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(site,))
        plan = plan_audio(f"{site}/speech.wav", "job", 300.0, settings)
        speech.unlink()
        assert len(read_segment(f"{site}/speech.wav", plan.segments[0], settings)) == 113_600


@contextlib.contextmanager
def trickling(before: bytes, *, connections: int = 1) -> Iterator[str]:
    """The address of a server that answers with these bytes, and then with one byte every 50 ms."""
    done = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(before)
            while not done.wait(0.05):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(connections):
                answer(server.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.wav"
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
    ],
    ids=["nothing", "headers", "body", "announced body"],
)
def test_a_server_that_sends_a_byte_now_and_then_does_not_hold_up_intake(before: bytes, tmp_path: Path) -> None:
    with trickling(before) as url:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(url,), download_timeout=0.5)
        started = time.monotonic()
        with pytest.raises(errors.UrlUnavailable, match=r"it took longer than 0\.5 s"):
            plan_audio(url, "job", 300.0, settings)
        assert time.monotonic() - started < 5
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_name_that_is_not_resolved_in_time_does_not_hold_up_intake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ended = threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        asked.set()
        ended.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=("http://slow.example/",), download_timeout=0.3)
    try:
        with pytest.raises(errors.UrlUnavailable, match=r"slow\.example"):
            plan_audio("http://slow.example/a.wav", "job", 300.0, settings)
    finally:
        ended.set()
    assert asked.is_set()


def test_a_name_that_no_host_has_is_an_error_of_the_url(tmp_path: Path) -> None:
    settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=("http://",))
    for name in ("nothing.invalid", "x" * 300, "a..b"):
        with pytest.raises((errors.UrlUnavailable, errors.UrlNotAllowed)):
            plan_audio(f"http://{name}/a.wav", "job", 300.0, settings)


def test_a_server_that_is_slower_than_any_real_one_is_left_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_source, "_PATIENCE_SECONDS", 0.3)
    with trickling(b"HTTP/1.1 200 OK\r\n\r\n") as url:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(url,))
        with pytest.raises(errors.UrlUnavailable, match="it sends less than 16 KiB per second"):
            plan_audio(url, "job", 300.0, settings)


def test_a_download_is_no_larger_than_a_file_may_be(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(CLIP.read_bytes())
    with served(tmp_path) as site:
        settings = Settings(spool_dir=tmp_path / "spool", url_prefixes=(site,), max_file_bytes=100_000)
        with pytest.raises(errors.FileTooLarge):
            plan_audio(f"{site}/a.wav", "job", 300.0, settings)
