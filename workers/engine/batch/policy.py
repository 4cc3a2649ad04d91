"""The numbers that shape a batch: how wide steps are, how long they wait for company, which sizes are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from whisper_fleet.shared.memory import ENCODER_ROWS

ItemT = TypeVar("ItemT")


class Grouping(Protocol):
    """How a step's windows are split into groups that the device computes at once."""

    def __call__(self, windows: Sequence[ItemT], /) -> list[list[ItemT]]:
        """Return the groups in order; none is empty."""


def all_at_once(windows: Sequence[ItemT], /) -> list[list[ItemT]]:
    """Return one group of all windows."""
    return [list(windows)] if windows else []


def one_by_one(windows: Sequence[ItemT], /) -> list[list[ItemT]]:
    """Return a group per window, so that its numbers do not depend on the windows beside it."""
    return [[window] for window in windows]


@dataclass(frozen=True, kw_only=True)
class BatchPolicy:
    """The policy of one model's batch. Buckets are sorted sizes: a smaller group is padded to the next of them."""

    #: Windows encoded or prompted in one step.
    encode_width: int
    #: Decode steps that an incomplete encode step waits for more windows while rows are running.
    encode_patience: int
    #: Windows per encoder graph and per prompt graph; the last is the most that one step may hold.
    encode_buckets: tuple[int, ...] = (1, 2, 4, 8, 12, ENCODER_ROWS)
    #: Rows per decode graph.
    row_buckets: tuple[int, ...] = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    #: Tokens that prompts are padded to; empty: to the longest prompt of their group. 4 hold a prompt without any text
    #: before it, and 232 the longest that `transcribe()` gives, 227: only a prefix makes longer ones.
    prompt_buckets: tuple[int, ...] = (4, 8, 32, 64, 128, 232, 448)
    #: Tokens up to which prompts run as a graph, one per bucket and number of windows.
    longest_captured_prompt: int = 232
    #: Tokens up to which a prompt attends to the audio in place, as decode steps do.
    short_prompt: int = 8
    #: Rows and slots that addresses are reserved for.
    max_rows: int = 512
    encode_groups: Grouping = all_at_once
    prompt_groups: Grouping = all_at_once
    step_groups: Grouping = all_at_once

    def encode_bucket(self, windows: int) -> int:
        """Return the number of windows that a group of `windows` is encoded or prompted as."""
        return bucket_of(windows, self.encode_buckets)

    def row_bucket(self, rows: int) -> int:
        """Return the number of rows that a decode step of `rows` rows is computed for."""
        return bucket_of(rows, self.row_buckets)

    def padded_prompt(self, tokens: int) -> int:
        """Return the length that a group whose longest prompt has `tokens` tokens is padded to."""
        return bucket_of(tokens, self.prompt_buckets) if self.prompt_buckets else tokens

    def prompt_class(self, tokens: int) -> int:
        """Return the class of a prompt's length: the length it is padded to. One step reads prompts of one class."""
        return self.padded_prompt(tokens)

    def reproducible(self) -> BatchPolicy:
        """Return this policy changed so that the same audio gives the same bytes whatever else is running."""
        return replace(
            self,
            row_buckets=(self.max_rows,),
            encode_groups=one_by_one,
            prompt_groups=one_by_one,
            step_groups=one_by_one,
        )


GPU_POLICY: Final = BatchPolicy(encode_width=ENCODER_ROWS, encode_patience=6)
#: A CPU gains nothing from windows computed side by side, and nothing from few shapes.
CPU_POLICY: Final = BatchPolicy(encode_width=1, encode_patience=0, prompt_buckets=(), prompt_groups=one_by_one)


def policy_of(device: str, *, reproducible: bool = False) -> BatchPolicy:
    """Return the policy for a device type, "cuda" or "cpu"."""
    policy = GPU_POLICY if device == "cuda" else CPU_POLICY
    return policy.reproducible() if reproducible else policy


def bucket_of(count: int, buckets: tuple[int, ...]) -> int:
    """Return the smallest of the buckets, which are sorted, that holds `count`."""
    return next(bucket for bucket in buckets if bucket >= count)
