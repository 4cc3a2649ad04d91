"""The encoder's convolutions and self-attention in kernels of our own, where they serve the model and the GPU."""

from __future__ import annotations

from torch import Tensor

from whisper_fleet.workers.engine.cuda.hopper.product import FusedProducts
from whisper_fleet.workers.engine.cuda.hopper.self_attention import SelfAttention
from whisper_fleet.workers.engine.cuda.hopper.stem import FusedStem
from whisper_fleet.workers.engine.device.device_model import DeviceModel
from whisper_fleet.workers.engine.network.encoder_parts import PlainEncoderParts


class FusedEncoderParts(PlainEncoderParts):
    """The parts in kernels, with plain operations for what these do not serve."""

    def __init__(self, model: DeviceModel) -> None:
        super().__init__(model.weights)
        dims, attention = model.dims, SelfAttention(model.device)
        width = dims.n_audio_state // dims.n_audio_head
        stem = FusedStem(model.weights, FusedProducts(model.device))
        self._attention = attention if attention.is_served(model.weights.dtype, width) else None
        self._stem = stem if stem.is_served() else None

    def stem(self, mel: Tensor) -> Tensor:
        return super().stem(mel) if self._stem is None else self._stem(mel)

    def attend(self, qkv: Tensor) -> Tensor:
        return super().attend(qkv) if self._attention is None else self._attention(qkv)
