"""A job's file comes from the source of its URL's scheme, or from a path."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.audio.sources import LOCAL, SOURCES, is_url, source_of
from whisper_fleet.shared.errors import BadOption, UrlNotAllowed
from whisper_fleet.shared.settings import Settings


@pytest.mark.parametrize("address", ["https://h/a.mp3", "HTTP://h/a.mp3", "ipfs://bucket/a.mp3", "ftp://h/a"])
def test_a_url_is_a_url_whether_the_fleet_has_a_source_for_it_or_not(address: str) -> None:
    assert is_url(address)


@pytest.mark.parametrize(
    "address", ["/a.mp3", "a.mp3", "/http://h/a.mp3", "http:x.wav", "C:\\a.wav", "concat:/a|/b", ""]
)
def test_a_path_is_not_a_url(address: str) -> None:
    assert not is_url(address)
    assert source_of(address) is LOCAL


def test_schemes_may_be_written_in_capitals() -> None:
    assert source_of("HTTPS://h/a.mp3") is SOURCES["https"]


def test_a_url_without_a_source_is_refused_like_a_path_that_is_not_absolute() -> None:
    with pytest.raises(BadOption, match=r"'ipfs://bucket/a\.mp3' is no absolute path"):
        source_of("ipfs://bucket/a.mp3").check("ipfs://bucket/a.mp3", Settings())


def test_a_url_is_checked_without_being_fetched() -> None:
    url = "https://127.0.0.1:9/a.mp3"
    with pytest.raises(UrlNotAllowed):
        source_of(url).check(url, Settings())
    source_of(url).check(url, Settings(url_prefixes=("https://127.0.0.1:9/",)))


def test_a_new_source_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "ipfs", SOURCES["https"])
    assert source_of("ipfs://bucket/a.mp3") is SOURCES["https"]
