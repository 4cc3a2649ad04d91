"""The reader of CTranslate2 model files: a header, then named arrays, then aliases, all little-endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_fleet.shared.errors import ModelUnavailable

Array = NDArray[Any]

_TYPES: tuple[type[np.generic], ...] = (np.float32, np.int8, np.int16, np.int32, np.float16)
_VERSION = 6
_SPECIFICATION = "WhisperSpec"


def read_model(content: bytes) -> dict[str, Array]:
    """Return the arrays of a Whisper model by name, including aliases; ModelUnavailable for any other file."""
    reader = _Reader(content)
    version, specification, _revision = reader.number("I"), reader.text(), reader.number("I")
    if (version, specification) != (_VERSION, _SPECIFICATION):
        expected = f"{_SPECIFICATION!r} in format {_VERSION}"
        reason = f"its file is a {specification!r} in format {version}, not a {expected}"
        raise ModelUnavailable(model="base", reason=reason)
    arrays = dict(reader.array() for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        arrays[alias] = arrays[name]
    return arrays


@dataclass
class _Reader:
    """A cursor in the content of the file."""

    content: bytes
    position: int = 0

    def number(self, kind: str) -> int:
        """Read an integer; `kind` is its format character in the struct module."""
        (value,) = struct.unpack_from("<" + kind, self.content, self.position)
        self.position += struct.calcsize("<" + kind)
        return int(value)

    def text(self) -> str:
        """Read a string: its length in 2 bytes, then its bytes, of which the last is zero."""
        return self._bytes(self.number("H"))[:-1].decode()

    def array(self) -> tuple[str, Array]:
        """Read a named array: name, dimensions, type, size in bytes, values."""
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind = np.dtype(_TYPES[self.number("B")]).newbyteorder("<")
        return name, np.frombuffer(self._bytes(self.number("I")), kind).reshape(shape)

    def _bytes(self, count: int) -> bytes:
        content = self.content[self.position : self.position + count]
        self.position += count
        return content
