"""A model on its device: everything that is made before it is known how the device computes with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from whisper.tokenizer import Tokenizer

from whisper_fleet.shared.memory import form_of
from whisper_fleet.shared.models import CrossAttention, ModelDims
from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.device.capability import capability
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.model.linear import can_pack
from whisper_fleet.workers.engine.model.weights import Weights, place_weights
from whisper_fleet.workers.engine.requests import model_tokenizer
from whisper_fleet.workers.engine.sampling.row_state import RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary, vocabulary_of


@dataclass(frozen=True, kw_only=True)
class DeviceModel:
    """A model's weights, its cache, the state of its rows, and its special tokens."""

    device: torch.device
    weights: Weights
    cache: KvCache
    state: RowState
    tokenizer: Tokenizer
    vocabulary: Vocabulary

    @property
    def dims(self) -> ModelDims:
        """The shape of the model."""
        return self.weights.dims


def place_model(
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    device: torch.device,
    policy: BatchPolicy,
    cross_attention: CrossAttention,
) -> DeviceModel:
    """Bring a checkpoint to the device, with memory for one slot and one row."""
    form = form_of(cross_attention, dtype.itemsize, capability(device))
    pack = device.type == "cpu" and dtype == torch.float32 and form == "cached" and can_pack()
    weights = place_weights(checkpoint, dtype, device, pack=pack)
    tokenizer = model_tokenizer(weights.dims)
    return DeviceModel(
        device=device,
        weights=weights,
        cache=KvCache(weights.dims, dtype, device, form, policy.max_rows),
        state=RowState(weights.dims, device, policy.max_rows),
        tokenizer=tokenizer,
        vocabulary=vocabulary_of(tokenizer, weights.dims.n_vocab, device),
    )
