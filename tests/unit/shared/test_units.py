"""Bytes as people write and read them."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.units import parse_bytes, readable_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GiB", 24 * 2**30), ("8 GB", 8 * 10**9), ("0.5g", 2**29), ("512m", 2**29), ("1073741824", 2**30)],
)
def test_sizes_are_understood(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "24 gigs", "-1GiB", "1e9"])
def test_nonsense_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 24GiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (2048, "2 KiB"), (5 * 2**20, "5.0 MiB"), (2**29, "0.50 GiB"), (25 * 10**9, "23.3 GiB")],
)
def test_sizes_are_told(size: int, text: str) -> None:
    assert readable_bytes(size) == text
