"""How a device computes a model's steps: the interface that the runner uses, and what all devices share of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor

from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.batch.result import Decoding
from whisper_fleet.workers.engine.cache.cross_attention import EncodedAudio
from whisper_fleet.workers.engine.device.device_model import DeviceModel
from whisper_fleet.workers.engine.network.attention import PromptAttention
from whisper_fleet.workers.engine.network.network import Network
from whisper_fleet.workers.engine.sampling.active_rows import ActiveRows


class GroupLogits(NamedTuple):
    """The logits of windows that were computed at once."""

    group: Sequence[Decoding]
    logits: Tensor  # [n, n_vocab]
    places: Mapping[int, int] | None  # where in `logits` each row is; None: a row is where its number is


class DevicePath(ABC):
    """One way to compute a model. `PlainPath` serves any device, `cuda.path.FusedPath` GPUs that kernels are made for.

    Nothing here waits for the device unless the method's description mentions it.
    """

    def __init__(
        self, model: DeviceModel, policy: BatchPolicy, network: Network, audio: EncodedAudio, active: ActiveRows
    ) -> None:
        self.network, self.audio = network, audio
        self._model, self._policy, self._active = model, policy, active

    @property
    @abstractmethod
    def stream(self) -> AbstractContextManager[object]:
        """The context in which steps must be issued."""

    @abstractmethod
    def encode(self, mels: list[Tensor], slots: list[int]) -> None:
        """Begin to encode windows, each [n_mels, 3000], into their slots. Waits for the encoding before it."""

    @abstractmethod
    def finish_encoding(self, *, wait: bool) -> bool:
        """Return whether the windows given to `encode` are encoded by now; `wait` for them."""

    @abstractmethod
    def step(self, live: list[Decoding]) -> Iterable[GroupLogits]:
        """Compute one token of every active row, and choose it unless the row is a beam.

        Groups are computed while the result is iterated, so that a group's logits are gone before the next one's.
        """

    @abstractmethod
    def choose(self, logits: Tensor, rows: Tensor, group: Sequence[Decoding]) -> None:
        """Choose and note the next tokens of a group's rows that are not beams, from logits [len(rows), n_vocab]."""

    def prompt(self, prompts: list[list[int]], starts: list[int], slots: list[int], leads: list[int]) -> Tensor:
        """Read prompts, and keep their keys and values in the rows `leads`.

        Return the logits [2, windows, n_vocab] at the prompts' positions `starts`, and at their last.
        """
        hidden = self.read(prompts, slots, self._model.state.upload(leads, torch.long))
        length = hidden.shape[0] // len(prompts)
        at = [window * length + start for window, start in enumerate(starts)]
        at += [window * length + len(prompt) - 1 for window, prompt in enumerate(prompts)]
        logits = self.network.logits(hidden[self._model.state.upload(at, torch.long)])
        return logits.view(2, len(prompts), -1)

    def read(self, prompts: list[list[int]], slots: list[int], leads: Tensor | None) -> Tensor:
        """Return hidden states [windows * length, n_text_state] of prompts that are padded to one length.

        Keys and values are kept in the rows `leads`, [windows] on the device, or not at all.
        """
        state = self._model.state
        length = self._policy.padded_prompt(max(map(len, prompts)))
        tokens = state.upload(self._padded(prompts, length), torch.long).flatten()
        positions = torch.arange(length, device=self._model.device).repeat(len(prompts))
        at = state.upload(slots, torch.long)
        return self.network.decode(tokens, positions, self._attention(at, length, leads))

    def look(self, step: int) -> None:
        """Send which rows are active after decode step number `step` to the host."""
        self._active.look(step)

    def seen(self) -> Iterator[tuple[int, list[int]]]:
        """Yield what has arrived of `look`: the step's number, and for every row whether it was active."""
        return self._active.seen()

    def _padded(self, prompts: list[list[int]], length: int) -> list[list[int]]:
        padding = self._model.vocabulary.end_of_text
        return [prompt + [padding] * (length - len(prompt)) for prompt in prompts]

    def _attention(self, slots: Tensor, length: int, leads: Tensor | None) -> PromptAttention:
        return PromptAttention(self._model.cache, self.audio, slots, length, leads)


def is_drawing(group: Sequence[Decoding]) -> bool:
    """Return whether any of the windows samples at a temperature."""
    return any(decoding.plan.temperature > 0 for decoding in group)
