"""The path of torch's own operations, for a CPU and for GPUs that the fused kernels do not serve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.batch.result import Decoding
from whisper_fleet.workers.engine.device.device_model import DeviceModel
from whisper_fleet.workers.engine.device.device_path import DevicePath, GroupLogits, is_drawing
from whisper_fleet.workers.engine.network.attention import step_attention
from whisper_fleet.workers.engine.network.encoder_parts import PlainEncoderParts
from whisper_fleet.workers.engine.network.host_attention import plain_audio
from whisper_fleet.workers.engine.network.network import Network, PlainArithmetic
from whisper_fleet.workers.engine.sampling import rules
from whisper_fleet.workers.engine.sampling.active_rows import active_rows
from whisper_fleet.workers.engine.sampling.row_state import IntColumn


class PlainPath(DevicePath):
    """Computes only the rows that are active, which it asks the device for at every step."""

    def __init__(self, model: DeviceModel, policy: BatchPolicy) -> None:
        network = Network(model.weights, PlainArithmetic(), PlainEncoderParts(model.weights))
        audio = plain_audio(model.cache.form, model.weights, model.cache)
        super().__init__(model, policy, network, audio, active_rows(model.state))

    @property
    def stream(self) -> AbstractContextManager[object]:
        """No stream of its own."""
        return nullcontext()

    def encode(self, mels: list[Tensor], slots: list[int]) -> None:
        """Encode windows; on a CPU they are encoded on return."""
        model = self._model
        features = self.network.encode(torch.stack(mels).to(device=model.device, dtype=model.weights.dtype))
        self.audio.store(features, model.state.upload(slots, torch.long))

    def finish_encoding(self, *, wait: bool) -> bool:
        """Return True: what is issued after `encode` is computed after it."""
        return True

    def step(self, live: list[Decoding]) -> Iterator[GroupLogits]:
        """Compute the active rows, group by group; there may be none left that the host still takes for running."""
        active = [decoding for decoding in live if self._is_active(decoding)]
        for group in self._policy.step_groups(active):
            numbers = [row for decoding in group for row in decoding.window.rows]
            rows = torch.tensor(numbers, device=self._model.device)
            logits = self._logits(rows)
            self.choose(logits, rows, group)
            yield GroupLogits(group, logits, {row: place for place, row in enumerate(numbers)})

    def choose(self, logits: Tensor, rows: Tensor, group: Sequence[Decoding]) -> None:
        """Choose by the vectorised rules, for the rows that are not beams alone."""
        owners = [decoding for decoding in group for _ in decoding.window.rows]
        if sampled := [place for place, decoding in enumerate(owners) if decoding.beam is None]:
            state, vocabulary = self._model.state, self._model.vocabulary
            some = torch.tensor(sampled, device=self._model.device)
            masked = rules.apply_rules(logits[some], state, rows[some], vocabulary)
            tokens, logprobs = rules.sample(masked, state, rows[some], draw=is_drawing(group))
            rules.push(tokens, logprobs, state, rows[some], vocabulary)

    def _is_active(self, decoding: Decoding) -> bool:
        return bool(self._model.state.active[list(decoding.window.rows)].any())

    def _logits(self, rows: Tensor) -> Tensor:
        model = self._model
        attention = step_attention(model.cache, self.audio, model.state, rows)
        tokens = model.state.ints[rows, IntColumn.TOKEN].long()
        positions = model.state.ints[rows, IntColumn.POSITION].long().clamp(max=model.dims.n_text_ctx - 1)
        return self.network.logits(self.network.decode(tokens, positions, attention))
