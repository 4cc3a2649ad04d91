"""The way through fused kernels and captured graphs, for GPUs that have both."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from whisper_fleet.shared.memory import ENCODER_ROWS
from whisper_fleet.shared.models import Form
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.cuda.graphs import Graphs, bucket_of
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary

if TYPE_CHECKING:
    from whisper_fleet.workers.engine.cuda.audio import FusedAudio
    from whisper_fleet.workers.engine.network.attention import PromptAttention
    from whisper_fleet.workers.engine.network.network import Arithmetic, Network

#: Windows that the encoder is captured for; the last is what may be encoded at once.
ENCODE_BUCKETS = (1, 2, 4, 8, 12, ENCODER_ROWS)
#: Tokens of a prompt without any text before it, padded.
SHORTEST = 4


def capability(device: torch.device) -> tuple[int, int] | None:
    """A GPU's compute capability; None for what no kernel of ours serves: a CPU, or without Triton."""
    if device.type != "cuda" or not _has_triton():
        return None
    return torch.cuda.get_device_capability(device)


@functools.cache
def _has_triton() -> bool:
    """Looked up once: the engine's statistics ask at every heartbeat."""
    return importlib.util.find_spec("triton") is not None


def fast_path(device: torch.device, cache: KvCache, state: RowState, vocabulary: Vocabulary) -> FusedPath | None:
    """The fast path, or None on a CPU, before Ampere (Triton no longer serves Turing) and without Triton."""
    found = capability(device)
    return None if found is None or found < (8, 0) else FusedPath(cache, state, vocabulary)


class FusedPath:
    """Decode steps of rows 0..n as one graph each; rows that are not active pass through untouched."""

    def __init__(self, cache: KvCache, state: RowState, vocabulary: Vocabulary) -> None:
        # imported here: a machine without Triton never gets this far
        from whisper_fleet.workers.engine.cuda import audio, norm, select, text

        self._kernels, self._select, self._forms = text, select, audio.FUSED_FORMS
        self._cache, self._state, self._vocabulary = cache, state, vocabulary
        self._numbers = torch.arange(state.active.shape[0], device=state.active.device)
        #: Two pools: the encoder and the decode steps run at the same time.
        self._graphs, self._encoder_graphs = Graphs(), Graphs()
        #: Decode steps go before the encoder's wide kernels wherever both wait for a multiprocessor.
        self.stream = torch.cuda.Stream(priority=-1)
        self._encode_stream = torch.cuda.Stream()
        self._mel: Tensor | None = None  # what the encoder's graphs read, made with the first window
        self._prompts = torch.zeros(ENCODE_BUCKETS[-1], 2 + SHORTEST, dtype=torch.long, device=state.active.device)
        self._slots = torch.zeros(ENCODE_BUCKETS[-1], dtype=torch.long, device=state.active.device)
        self._attached: tuple[Network, FusedAudio] | None = None
        self.arithmetic: Arithmetic = norm.FusedArithmetic()

    def attach(self, network: Network, form: Form) -> FusedAudio:
        """The network whose steps are run; returns its encoded audio in this form."""
        encoded = self._forms[form](network.weights, self._cache)
        self._attached = (network, encoded)
        return encoded

    def prompt_attention(self, slots: Tensor, length: int, rows: Tensor | None) -> PromptAttention:
        """For a prompt of a few tokens: as PromptAttention, but nothing is gathered."""
        _, encoded = self._network_and_audio()
        return self._kernels.FusedPromptAttention(self._cache, encoded, slots, length, rows)

    def step(self, rows: int, draw: bool) -> Tensor:
        """One token for all active rows below `rows`; the logits by row, for beams."""
        bucket = bucket_of(rows)
        return self._graphs.run(("decode", bucket, draw), lambda: self._step(bucket, draw))

    def encode(self, mels: list[Tensor], slots: list[int], dtype: torch.dtype) -> torch.cuda.Event:
        """Begin to encode windows into their slots, beside the decode steps; the event says when it is done.

        The one before must be done. An incomplete bucket is filled with the last window again.
        """
        bucket = bucket_of(len(mels), ENCODE_BUCKETS)
        missing = bucket - len(mels)
        if self._mel is None:
            shape = (ENCODE_BUCKETS[-1], *mels[0].shape)
            self._mel = torch.empty(shape, dtype=dtype, device=self._slots.device)
        self._encode_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._encode_stream):
            for at, mel in enumerate(mels + mels[-1:] * missing):
                self._mel[at].copy_(mel, non_blocking=True)
            self._slots[:bucket] = self._state.upload(slots + slots[-1:] * missing, torch.long)
            self._encoder_graphs.run(("encoder", bucket, False), lambda: self._encode(bucket))
            done = torch.cuda.Event()
            done.record()
        return done

    def prompt(self, tokens: list[list[int]], slots: list[int], leads: list[int]) -> Tensor:
        """Hidden states of prompts of SHORTEST tokens; an incomplete bucket is filled with the last one again."""
        bucket = bucket_of(len(tokens), ENCODE_BUCKETS)
        missing = bucket - len(tokens)
        lines = [[slot, lead, *line] for slot, lead, line in zip(slots, leads, tokens, strict=True)]
        self._prompts[:bucket] = self._state.upload(lines + lines[-1:] * missing, torch.long)
        return self._graphs.run(("prompt", bucket, False), lambda: self._prompt(bucket))

    def _prompt(self, windows: int) -> Tensor:
        network, _ = self._network_and_audio()
        slots, leads, tokens = self._prompts[:windows].split((1, 1, SHORTEST), dim=1)
        attention = self.prompt_attention(slots[:, 0].contiguous(), SHORTEST, leads[:, 0])
        positions = self._numbers[:SHORTEST].repeat(windows)
        return network.decode(tokens.flatten(), positions, attention)

    def _encode(self, windows: int) -> Tensor:
        if self._mel is None:
            raise RuntimeError("there is nothing to encode")
        network, encoded = self._network_and_audio()
        features = network.encode(self._mel[:windows])
        encoded.store(features, self._slots[:windows])
        return features

    def select(self, logits: Tensor, rows: Tensor, draw: bool) -> None:
        """Choose and note the next tokens of the rows that are no beams."""
        self._select.select(logits, self._state, rows, self._vocabulary, draw=draw)

    def _step(self, rows: int, draw: bool) -> Tensor:
        network, encoded = self._network_and_audio()
        attention = self._kernels.FusedStepAttention(self._cache, encoded, self._state, rows)
        tokens = self._state.ints[:rows, IntColumn.TOKEN]
        positions = self._state.ints[:rows, IntColumn.POSITION].clamp(max=self._state.sampled.shape[1] - 1)
        logits = network.logits(network.decode(tokens, positions, attention))
        self._select.select(logits, self._state, self._numbers[:rows], self._vocabulary, draw=draw)
        return logits

    def _network_and_audio(self) -> tuple[Network, FusedAudio]:
        if self._attached is None:
            raise RuntimeError("no network is attached")
        return self._attached
