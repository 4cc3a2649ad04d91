"""Names of output files: each belongs to one input, and a file of anyone else is never replaced.

Next to the files `talk.*` is a hidden marker, `.talk.whisper-fleet`, which holds the path or URL of their input. It is
made before the first of them, and exclusively, so that of two hosts only one gets the name. Files without a marker are
somebody's own. The same input always gets the same name, so that a job that runs again replaces what it wrote.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from typing import Protocol

#: Bytes of a stem that its marker's name repeats; names have at most 255 bytes.
_LONGEST_SHOWN = 200


class NamedFiles(Protocol):
    """A directory, or what serves as one."""

    def exists(self, name: str) -> bool: ...

    def read(self, name: str) -> str | None: ...

    def create(self, name: str, text: str) -> bool: ...


def own_stem(folder: NamedFiles, stem: str, formats: Sequence[str], owner: str) -> str:
    """Return the first of `stem`, `stem-2`, `stem-3`, ... that belongs to the input `owner` from now on.

    Raises OSError.
    """
    candidates = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if _is_own(folder, candidate, formats, owner))


def _is_own(folder: NamedFiles, stem: str, formats: Sequence[str], owner: str) -> bool:
    marker = _marker(stem)
    marked = folder.read(marker)
    if marked is None:
        if any(folder.exists(f"{stem}.{form}") for form in formats):
            return False
        if folder.create(marker, f"{owner}\n"):
            return True
        marked = folder.read(marker)
    return marked == f"{owner}\n"


def _marker(stem: str) -> str:
    is_long = len(stem.encode()) > _LONGEST_SHOWN
    shown = hashlib.sha256(stem.encode()).hexdigest() if is_long else stem
    return f".{shown}.whisper-fleet"
