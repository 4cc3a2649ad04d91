"""The one formula for memory: what a model, a slot and the engine's workspace cost, from dimensions alone.

The scheduler promises slots by it and the engine allocates by it, so both call it. All sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.models import ModelDims, parameters
from shared.settings import Precision

ELEMENT_BYTES: Final[dict[Precision, int]] = {"float16": 2, "bfloat16": 2, "float32": 4}

#: Windows that the engine encodes at once.
ENCODER_ROWS: Final = 8
#: CUDA context with the handles of cuBLAS and cuDNN.
CUDA_CONTEXT_BYTES: Final = 600 * 2**20
#: Private pool of the captured decode graphs.
GRAPH_POOL_BYTES: Final = 192 * 2**20
#: A step holds a row's logits several times: as computed, as float32, masked, as log-probabilities.
LOGIT_COPIES: Final = 4

_SAMPLE_RATE: Final = 16_000
_FRAMES_PER_SECOND: Final = 100
_STFT_BINS: Final = 201
_PADDING_SECONDS: Final = 30.0  # whisper.transcribe() pads the audio before it makes the spectrogram
_MEL_FRAMES: Final = 3000  # of one window


@dataclass(frozen=True, kw_only=True)
class ModelMemory:
    """What one model in one precision needs on a device, in bytes."""

    weights: int  # once a model
    cross_kv: int  # a slot: keys and values of the encoded window
    self_kv: int  # a slot: keys and values of the text, for all of its rows
    logits: int  # a slot: for all of its rows
    encoder: int  # workspace: activations of one encoder batch
    context: int  # workspace: the CUDA context, nothing on a CPU
    graphs: int  # workspace: the graph pool, nothing on a CPU
    host: int  # a slot's audio and spectrogram, always in the host's memory

    @property
    def slot(self) -> int:
        """Device bytes that each further slot costs."""
        return self.cross_kv + self.self_kv + self.logits

    @property
    def workspace(self) -> int:
        """Device bytes that the engine needs besides weights and slots."""
        return self.encoder + self.context + self.graphs

    @property
    def smallest(self) -> int:
        """Device bytes with one slot: less than this and the model does not fit."""
        return self.weights + self.workspace + self.slot

    def total(self, slots: int) -> int:
        """Device bytes with so many slots."""
        return self.weights + self.workspace + slots * self.slot


def memory_of(
    dims: ModelDims,
    precision: Precision,
    *,
    device: str,
    segment_duration: float,
    rows_per_slot: int = 1,
) -> ModelMemory:
    """Memory on `device` (cuda or cpu); durations in seconds; `rows_per_slot` is beam_size or best_of."""
    size = ELEMENT_BYTES[precision]
    on_gpu = device != "cpu"
    text_layer = 2 * dims.n_text_state * size * dims.n_text_layer
    # Beams read one encoded window; each keeps its own text twice: reordering copies from one to the other.
    copies_of_text = 1 if rows_per_slot == 1 else 2 * rows_per_slot
    return ModelMemory(
        weights=(parameters(dims) + dims.n_audio_ctx * dims.n_audio_state) * size,
        cross_kv=text_layer * dims.n_audio_ctx,
        self_kv=text_layer * dims.n_text_ctx * copies_of_text,
        logits=dims.n_vocab * 4 * LOGIT_COPIES * rows_per_slot,
        encoder=ENCODER_ROWS * _encoder_row(dims, size),
        context=CUDA_CONTEXT_BYTES if on_gpu else 0,
        graphs=GRAPH_POOL_BYTES if on_gpu else 0,
        host=_host_slot(dims, segment_duration),
    )


def _encoder_row(dims: ModelDims, size: int) -> int:
    """A block's activations (residual, norm, two of 4 x width) or the convolutions', and the spectrogram."""
    block = 10 * dims.n_audio_ctx * dims.n_audio_state * size
    convolutions = 2 * _MEL_FRAMES * dims.n_audio_state * size
    return max(block, convolutions) + _MEL_FRAMES * dims.n_mels * size


def _host_slot(dims: ModelDims, segment_duration: float) -> int:
    """Float32 audio, its complex spectrum with magnitudes, and the mel spectrogram, all alive at once."""
    seconds = segment_duration + _PADDING_SECONDS
    a_frame = _STFT_BINS * (8 + 4) + dims.n_mels * 4
    return int(seconds * (_SAMPLE_RATE * 4 + _FRAMES_PER_SECOND * a_frame))
