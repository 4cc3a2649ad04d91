"""The state of every row between two steps, as tensors on the device that never move, since graphs point to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import torch
from torch import Tensor

from whisper_fleet.shared.models import ModelDims
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.engine.batch.result import SampledRow

#: Static logit masks that rows may use at once.
MAX_MASKS = 64
#: A token id above all others.
NO_LIMIT = 1 << 30


class IntColumn(IntEnum):
    """Columns of `RowState.ints`."""

    TOKEN = 0  # the one sampled last, which the next step reads
    POSITION = 1  # of TOKEN in the text context
    COUNT = 2  # tokens sampled so far
    LAST_IS_TIMESTAMP = 3
    BEFORE_IS_TIMESTAMP = 4  # the one before the last; 1 while fewer than two are sampled
    LAST_TIMESTAMP = 5  # token id, -1 before the first
    MAX_SAMPLED = 6  # tokens that may be sampled
    SLOT = 7  # of the encoded window
    MASK = 8  # number of the row's static logit mask
    BLANK_RULE = 9
    TIMESTAMP_RULES = 10
    MAX_INITIAL = 11  # highest first timestamp, NO_LIMIT for any
    SEED = 12
    BEAM = 13  # 1: its tokens are chosen together with the other beams'


class FloatColumn(IntEnum):
    """Columns of `RowState.floats`."""

    SUM_LOGPROB = 0
    TEMPERATURE = 1
    NO_SPEECH = 2


class RowState:
    """State of all rows of one model."""

    def __init__(self, dims: ModelDims, device: torch.device, max_rows: int) -> None:
        self._device = device
        self._numbers = torch.arange(dims.n_text_ctx, device=device, dtype=torch.int32)
        self.active = torch.zeros(max_rows, dtype=torch.int32, device=device)
        self.ints = torch.zeros(max_rows, len(IntColumn), dtype=torch.int32, device=device)
        self.floats = torch.zeros(max_rows, len(FloatColumn), dtype=torch.float32, device=device)
        self.sampled = torch.zeros(max_rows, dims.n_text_ctx, dtype=torch.int32, device=device)
        #: Which physical row holds a sequence's key and value at a position: beams share their past.
        self.holder = torch.zeros(max_rows, dims.n_text_ctx, dtype=torch.int32, device=device)
        self.masks = torch.zeros(MAX_MASKS, dims.n_vocab, dtype=torch.bool, device=device)
        self._mask_of: dict[tuple[int, ...], int] = {}

    def admit(self, rows: list[int], ints: list[list[int]], floats: list[list[float]], leads: list[int]) -> Tensor:
        """Set the first state of rows that join, and return the rows as a tensor.

        `leads` names for each row the row that reads its prompt, and so holds the prompt's keys and values.
        """
        at = self.upload(rows, torch.long)
        self.ints[at] = self.upload(ints, torch.int32)
        self.floats[at] = self.upload(floats, torch.float32)
        prompt = self.ints[at, IntColumn.POSITION][:, None]
        lead = self.upload(leads, torch.int32)[:, None]
        self.holder[at] = torch.where(self._numbers <= prompt, lead, at[:, None].int())
        self.active[at] = 1
        return at

    def reorder(self, rows: Tensor, sources: Tensor) -> None:
        """Let beams continue from others: row `rows[i]` takes the history of `rows[sources[i]]`. No key is moved."""
        origin = rows[sources]
        ahead = self._numbers > self.ints[rows, IntColumn.POSITION, None]
        self.holder[rows] = torch.where(ahead, rows[:, None].int(), self.holder[origin])
        for part in (self.ints, self.sampled):
            part[rows] = part[origin]

    def fetch(self, rows: list[int]) -> dict[int, SampledRow]:
        """Return what rows sampled. Waits for the device."""
        at = self.upload(rows, torch.long)
        parts = (self.ints[at, IntColumn.COUNT, None], self.floats[at].view(torch.int32), self.sampled[at])
        packed = torch.cat(parts, 1).cpu()  # one copy, one wait
        counts, floats = packed[:, 0].tolist(), packed[:, 1 : 1 + len(FloatColumn)].contiguous().view(torch.float32)
        tokens = packed[:, 1 + len(FloatColumn) :]
        return {
            row: SampledRow(
                tokens=sampled[:count].tolist(),
                sum_logprob=values[FloatColumn.SUM_LOGPROB],
                no_speech_prob=values[FloatColumn.NO_SPEECH],
            )
            for row, count, values, sampled in zip(rows, counts, floats.tolist(), tokens, strict=True)
        }

    def drop(self, rows: Sequence[int]) -> None:
        """Let rows take no further step."""
        self.active[self.upload(rows, torch.long)] = 0

    def mask_number(self, suppressed: tuple[int, ...], in_use: Callable[[], set[int]]) -> int | None:
        """Return the number of a static logit mask, written on first use; None if all numbers are in use.

        `in_use` returns the numbers that running rows read; it is called only where a mask must make room.
        """
        if suppressed not in self._mask_of:
            taken = set(self._mask_of.values())
            number = next((n for n in range(MAX_MASKS) if n not in taken), None)
            if number is None:
                needed = in_use()
                number = next((n for n in range(MAX_MASKS) if n not in needed), None)
                if number is None:
                    return None
                self._mask_of = {key: n for key, n in self._mask_of.items() if n != number}
            self.masks[number] = False
            if suppressed:
                self.masks[number, self.upload(suppressed, torch.long)] = True
            self._mask_of[suppressed] = number
        return self._mask_of[suppressed]

    def upload(self, values: Sequence[int] | Sequence[Sequence[float]], dtype: torch.dtype) -> Tensor:
        """Return values of the host as a tensor on the device, without waiting for it."""
        tensor = torch.tensor(values, dtype=dtype)
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def int_row(plan: DecodePlan, *, slot: int, mask: int, seed: int) -> list[int]:
    """Return a row's first values of `RowState.ints`, before it has sampled a token."""
    latest_first = NO_LIMIT if plan.max_initial_timestamp is None else plan.max_initial_timestamp
    values = {
        IntColumn.TOKEN: 0,
        IntColumn.POSITION: len(plan.initial_tokens) - 1,
        IntColumn.COUNT: 0,
        IntColumn.LAST_IS_TIMESTAMP: 0,
        IntColumn.BEFORE_IS_TIMESTAMP: 1,
        IntColumn.LAST_TIMESTAMP: -1,
        IntColumn.MAX_SAMPLED: plan.max_sampled,
        IntColumn.SLOT: slot,
        IntColumn.MASK: mask,
        IntColumn.BLANK_RULE: int(plan.suppress_blank),
        IntColumn.TIMESTAMP_RULES: int(plan.timestamps),
        IntColumn.MAX_INITIAL: latest_first,
        IntColumn.SEED: seed,
        IntColumn.BEAM: int(plan.is_beam),
    }
    return [values[column] for column in IntColumn]
