"""The path of fused kernels and captured graphs, for GPUs that have both."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.batch.result import Decoding
from whisper_fleet.workers.engine.cuda.audio import FUSED_FORMS
from whisper_fleet.workers.engine.cuda.graphs import Graphs
from whisper_fleet.workers.engine.cuda.hopper.encoder_parts import FusedEncoderParts
from whisper_fleet.workers.engine.cuda.norm import FusedArithmetic
from whisper_fleet.workers.engine.cuda.select import select
from whisper_fleet.workers.engine.cuda.text import FusedPromptAttention, FusedStepAttention
from whisper_fleet.workers.engine.device.device_model import DeviceModel
from whisper_fleet.workers.engine.device.device_path import DevicePath, GroupLogits, is_drawing
from whisper_fleet.workers.engine.network.attention import PromptAttention
from whisper_fleet.workers.engine.network.encoder_parts import PlainEncoderParts
from whisper_fleet.workers.engine.network.network import Network
from whisper_fleet.workers.engine.sampling.active_rows import DeviceActiveRows
from whisper_fleet.workers.engine.sampling.row_state import IntColumn


class FusedPath(DevicePath):
    """Decode steps of rows 0..n as one graph each; rows that are not active pass through untouched.

    The graphs read their input from tensors that stay where they are: the rows' state, and those made here.
    """

    def __init__(self, model: DeviceModel, policy: BatchPolicy, *, bit_exact_encoder: bool) -> None:
        self._fused_audio = FUSED_FORMS[model.cache.form](model.weights, model.cache)
        parts = PlainEncoderParts(model.weights) if bit_exact_encoder else FusedEncoderParts(model)
        network = Network(model.weights, FusedArithmetic(model.device), parts)
        super().__init__(model, policy, network, self._fused_audio, DeviceActiveRows(model.state))
        device, windows = model.device, policy.encode_buckets[-1]
        self._numbers = torch.arange(policy.max_rows, device=device)
        #: Two pools: the encoder and the decode steps run at the same time.
        self._graphs, self._encoder_graphs = Graphs(), Graphs()
        #: Decode steps go before the encoder's wide kernels wherever both wait for a multiprocessor.
        self._step_stream = torch.cuda.Stream(priority=-1)
        self._encode_stream = torch.cuda.Stream()
        self._encoded: torch.cuda.Event | None = None  # of the encoding that is under way
        self._mel: Tensor | None = None  # what the encoder's graphs read, made with the first window
        self._slots = torch.zeros(windows, dtype=torch.long, device=device)
        #: What the prompts' graphs read of each window: slot, lead, the two positions whose logits count, and tokens.
        self._prompts = torch.zeros(windows, 4 + policy.longest_captured_prompt, dtype=torch.long, device=device)

    @property
    def stream(self) -> AbstractContextManager[object]:
        """The stream of decode steps and prompts."""
        return torch.cuda.stream(self._step_stream)

    def encode(self, mels: list[Tensor], slots: list[int]) -> None:
        """Begin to encode windows beside the decode steps. An incomplete bucket is filled with the last window."""
        self.finish_encoding(wait=True)
        bucket = self._policy.encode_bucket(len(mels))
        missing = bucket - len(mels)
        if self._mel is None:
            shape = (self._policy.encode_buckets[-1], *mels[0].shape)
            self._mel = torch.empty(shape, dtype=self._model.weights.dtype, device=self._model.device)
        self._encode_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._encode_stream):
            for place, mel in enumerate(mels + mels[-1:] * missing):
                self._mel[place].copy_(mel, non_blocking=True)
            self._slots[:bucket] = self._model.state.upload(slots + slots[-1:] * missing, torch.long)
            self.encode_again(bucket)
            encoded = torch.cuda.Event()
            encoded.record()
        self._encoded = encoded

    def finish_encoding(self, *, wait: bool) -> bool:
        """Return whether the windows given to `encode` are encoded by now; `wait` for them."""
        if self._encoded is not None:
            if not wait and not self._encoded.query():
                return False
            self._encoded.synchronize()
            self._encoded = None
        return True

    def encode_again(self, windows: int) -> None:
        """Encode what `encode` brought to the device last, a bucket of windows; for benchmarks, too."""
        self._encoder_graphs.run(("encoder", windows, 0), lambda: self._encode(windows))

    def prompt(self, prompts: list[list[int]], starts: list[int], slots: list[int], leads: list[int]) -> Tensor:
        """Read prompts as a graph, whose bucket is filled with the last of them; only the longest are read plainly."""
        length = self._policy.padded_prompt(max(map(len, prompts)))
        if length > self._policy.longest_captured_prompt:
            return super().prompt(prompts, starts, slots, leads)
        bucket = self._policy.encode_bucket(len(prompts))
        ends = [len(prompt) - 1 for prompt in prompts]
        columns = (slots, leads, starts, ends, self._padded(prompts, length))
        lines = [[slot, lead, start, end, *tokens] for slot, lead, start, end, tokens in zip(*columns, strict=True)]
        lines += lines[-1:] * (bucket - len(prompts))
        self._prompts[:bucket, : 4 + length] = self._model.state.upload(lines, torch.long)
        logits = self._graphs.run(("prompt", bucket, length), lambda: self._prompt(bucket, length))
        return logits[:, : len(prompts)]

    def step(self, live: list[Decoding]) -> tuple[GroupLogits]:
        """Compute all rows up to the highest live one; active ones move, whatever the host takes for live."""
        top = max(max(decoding.window.rows) for decoding in live) + 1  # not by slots: their number changes
        return (GroupLogits(live, self.step_rows(top, draw=is_drawing(live)), None),)

    def step_rows(self, rows: int, *, draw: bool) -> Tensor:
        """Sample one token for all active rows below `rows` that are not beams; return the logits by row."""
        bucket = self._policy.row_bucket(rows)
        return self._graphs.run(("decode", bucket, draw), lambda: self._step(bucket, draw=draw))

    def choose(self, logits: Tensor, rows: Tensor, group: Sequence[Decoding]) -> None:
        """Choose by the fused kernel, which leaves beams alone."""
        select(logits, self._model.state, rows, self._model.vocabulary, draw=is_drawing(group))

    def _attention(self, slots: Tensor, length: int, leads: Tensor | None) -> PromptAttention:
        """Attend to the audio in place if the prompt is short: nothing is gathered."""
        in_place = length <= self._policy.short_prompt
        return FusedPromptAttention(self._model.cache, self._fused_audio, slots, length, leads, in_place=in_place)

    def _encode(self, windows: int) -> Tensor:
        if self._mel is None:
            raise RuntimeError("there is nothing to encode")
        features = self.network.encode(self._mel[:windows])
        self._fused_audio.store(features, self._slots[:windows])
        return features

    def _prompt(self, windows: int, length: int) -> Tensor:
        given = self._prompts[:windows]
        slots, leads, ends = given[:, 0].contiguous(), given[:, 1].contiguous(), given[:, 2:4]
        attention = self._attention(slots, length, leads)
        positions = self._numbers[:length].repeat(windows)
        hidden = self.network.decode(given[:, 4 : 4 + length].flatten(), positions, attention)
        at = ends + self._numbers[:windows, None] * length
        return self.network.logits(hidden[at.T.flatten()]).view(2, windows, -1)

    def _step(self, rows: int, *, draw: bool) -> Tensor:
        state = self._model.state
        attention = FusedStepAttention(self._model.cache, self._fused_audio, state, rows)
        tokens = state.ints[:rows, IntColumn.TOKEN]
        positions = state.ints[:rows, IntColumn.POSITION].clamp(max=state.sampled.shape[1] - 1)
        logits = self.network.logits(self.network.decode(tokens, positions, attention))
        select(logits, state, self._numbers[:rows], self._model.vocabulary, draw=draw)
        return logits
