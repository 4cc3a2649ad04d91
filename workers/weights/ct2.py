"""Reads a CTranslate2 model file: a header, then named arrays, then aliases, all little-endian."""

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
    """The arrays of a Whisper model by name, aliases included; ModelUnavailable for any other file."""
    reader = _Reader(content)
    version, specification, _revision = reader.number("I"), reader.text(), reader.number("I")
    if (version, specification) != (_VERSION, _SPECIFICATION):
        raise ModelUnavailable(model="base", reason=f"it is {specification!r} in format {version}")
    arrays = dict(reader.array() for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, name = reader.text(), reader.text()
        arrays[alias] = arrays[name]
    return arrays


@dataclass
class _Reader:
    """A place in the file."""

    content: bytes
    position: int = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from("<" + kind, self.content, self.position)
        self.position += struct.calcsize("<" + kind)
        return int(value)

    def text(self) -> str:
        """Length first, a zero byte last."""
        return self._bytes(self.number("H"))[:-1].decode()

    def array(self) -> tuple[str, Array]:
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind = np.dtype(_TYPES[self.number("B")]).newbyteorder("<")
        return name, np.frombuffer(self._bytes(self.number("I")), kind).reshape(shape)

    def _bytes(self, count: int) -> bytes:
        piece = self.content[self.position : self.position + count]
        self.position += count
        return piece
