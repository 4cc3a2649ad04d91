"""The KV cache of a model: encoded audio per slot, and keys and values of text per row. It can be resized in place."""

from __future__ import annotations

import torch
from torch import Tensor

from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.shared.memory import audio_shape
from whisper_fleet.shared.models import Form, ModelDims
from whisper_fleet.workers.engine.cache.virtual_memory import reserve


class KvCache:
    """The static cache of one model; `audio` and `text` span all reserved addresses, of which a part is committed.

    The layout of `audio` depends on the form of cross-attention (see `cross_attention.py`); keys and values are stored
    as their projection returns them. `text` is [row, layer, 2, head, position, width], so that the past of a head is
    contiguous. Address space is reserved for `max_rows` slots and as many rows; only slots below `slots` and rows
    below `rows` may be used.
    """

    def __init__(self, dims: ModelDims, dtype: torch.dtype, device: torch.device, form: Form, max_rows: int) -> None:
        heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
        audio = (max_rows, *audio_shape(dims, form))
        text = (max_rows, dims.n_text_layer, 2, heads, dims.n_text_ctx, width)
        self.slot_bytes = _bytes(audio, dtype) // max_rows
        self.row_bytes = _bytes(text, dtype) // max_rows
        self._audio_memory = reserve(_bytes(audio, dtype), device)
        self._text_memory = reserve(_bytes(text, dtype), device)
        self.form: Form = form
        self.slots = self.rows = 0
        self.resize(1, 1)
        self.audio: Tensor = self._audio_memory.tensor(audio, dtype)
        self.text: Tensor = self._text_memory.tensor(text, dtype)

    @property
    def committed(self) -> int:
        """The bytes of device memory that the cache holds."""
        return self._audio_memory.committed + self._text_memory.committed

    def resize(self, slots: int, rows: int) -> None:
        """Hold memory for this many slots and rows; if EngineOutOfMemory is raised, the cache is unchanged."""
        if (slots, rows) == (self.slots, self.rows):
            return
        self._audio_memory.commit(slots * self.slot_bytes)
        try:
            self._text_memory.commit(rows * self.row_bytes)
        except EngineOutOfMemory:
            self._audio_memory.commit(max(self.slots, 1) * self.slot_bytes)
            raise
        self.slots, self.rows = slots, rows

    def wipe(self, rows: list[int]) -> None:
        """Overwrite rows that may hold NaN with zeros.

        Positions beyond a row's text have the weight 0, but 0 * NaN is NaN, which would reach the row's next text.
        """
        for row in rows:
            self.text[row].zero_()

    def release(self) -> None:
        """Free all memory and addresses; the cache cannot be used afterwards."""
        del self.audio, self.text
        self._audio_memory.release()
        self._text_memory.release()


def consecutive(numbers: Tensor) -> bool:
    """Return whether the numbers of rows or slots are consecutive and ascending."""
    return bool((numbers.diff() == 1).all())


def _bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize
