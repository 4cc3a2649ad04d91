"""Sizes as people read and write them; only for what is printed or typed."""

from __future__ import annotations

import re

_BINARY = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SHORT = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def readable_bytes(size: int) -> str:
    """Return a size with its binary unit: `512 B`, `0.38 GiB`, `24.0 GiB`."""
    if size < 2**20:
        return f"{size} B" if size < 2**10 else f"{size / 2**10:.0f} KiB"
    if size < 100 * 2**20:
        return f"{size / 2**20:.1f} MiB"
    return f"{size / 2**30:.2f} GiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"


def parse_bytes(text: str) -> int:
    """Return the bytes of `24GiB`, `8 GB`, `512M` or `1073741824`; ValueError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    factor = (_BINARY | _SHORT | _DECIMAL).get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is no size: write it like 24GiB or 8000MB")
    return int(float(match[1]) * factor)
