"""Keys and values: of encoded audio, one slot a window; of text, one row a sequence. Grows and shrinks in place."""

from __future__ import annotations

import torch
from torch import Tensor
from whisper.model import ModelDimensions

from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.shared.memory import Form, audio_shape
from whisper_fleet.workers.engine.cache.virtual_memory import reserve

#: Slots and rows that addresses are reserved for.
MOST_ROWS = 512


class KvCache:
    """Static cache of one model; `audio` and `text` span what is reserved, only the committed part may be used.

    audio is as the form of cross-attention has it (`encoded.py`); keys and values lie as their projection leaves them;
    text [row, layer, 2, head, position, width] so that a head reads its past in one piece.
    """

    def __init__(self, dims: ModelDimensions, dtype: torch.dtype, device: torch.device, form: Form) -> None:
        heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
        audio = (MOST_ROWS, *audio_shape(dims, form))
        text = (MOST_ROWS, dims.n_text_layer, 2, heads, dims.n_text_ctx, width)
        self.slot_bytes = _bytes(audio, dtype) // MOST_ROWS
        self.row_bytes = _bytes(text, dtype) // MOST_ROWS
        self._audio_region = reserve(_bytes(audio, dtype), device)
        self._text_region = reserve(_bytes(text, dtype), device)
        self.form: Form = form
        self.slots = self.rows = 0
        self.resize(1, 1)
        self.audio: Tensor = self._audio_region.tensor(audio, dtype)
        self.text: Tensor = self._text_region.tensor(text, dtype)

    @property
    def committed(self) -> int:
        """Bytes of device memory that the cache holds."""
        return self._audio_region.committed + self._text_region.committed

    def resize(self, slots: int, rows: int) -> None:
        """Hold memory for so many slots and rows; EngineOutOfMemory leaves the cache as it was."""
        if (slots, rows) == (self.slots, self.rows):
            return
        self._audio_region.commit(slots * self.slot_bytes)
        try:
            self._text_region.commit(rows * self.row_bytes)
        except EngineOutOfMemory:
            self._audio_region.commit(max(self.slots, 1) * self.slot_bytes)
            raise
        self.slots, self.rows = slots, rows

    def wipe(self, rows: list[int]) -> None:
        """Leave zeros where rows may hold NaNs: what is beyond their next text counts 0 times, which is NaN."""
        for row in rows:
            self.text[row].zero_()

    def release(self) -> None:
        """Give everything back."""
        del self.audio, self.text
        self._audio_region.release()
        self._text_region.release()


def consecutive(numbers: Tensor) -> bool:
    """Whether rows or slots lie side by side: each is the one before and one."""
    return bool((numbers.diff() == 1).all())


def _bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize
