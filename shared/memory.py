"""Calculates the memory of a model, a slot and the engine's workspace in bytes, from the model's dimensions alone.

The scheduler counts slots with it and the engine allocates with it, so that both agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from whisper_fleet.shared.models import CrossAttention, Form, ModelDims, Precision, parameters

ELEMENT_BYTES: Final[dict[Precision, int]] = {"float16": 2, "bfloat16": 2, "float32": 4}

# The workspace's constants are fitted to what six models held on an H200 in both forms (docs/benchmarks/engine.md).
#: Windows that the engine encodes at once on a GPU; a CPU encodes one. 18 windows of 1,500 frames make whole waves of
#: tiles on Hopper's 132 multiprocessors: measured 5 % faster per window than 16.
ENCODER_ROWS: Final = 18
#: A CUDA context without anything in it.
CUDA_CONTEXT_BYTES: Final = 526 * 2**20
#: Kernels, library handles and workspaces, and what the captured graphs of each decoder layer add.
LIBRARY_BYTES: Final = 405 * 2**20
GRAPH_LAYER_BYTES: Final = 2_870_000
#: The encoder's activations in units of one tensor [1500, state]: for any batch, and for each window in it.
_ENCODER_UNITS: Final = 60
_ENCODER_UNITS_PER_WINDOW: Final = 25
#: Bytes that a decode step holds per logit of a row, on average over the captured steps.
_LOGIT_BYTES: Final = 6

#: What a piece of a spectrogram (workers/whisper/spectrogram.py) leaves with a slot's thread, in allocator and MKL;
#: measured, the same for segments of 30 s and of an hour.
_PIECE_BYTES: Final = 9_000_000

_SAMPLE_RATE: Final = 16_000
_FRAMES_PER_SECOND: Final = 100
_PADDING_SECONDS: Final = 30.0  # whisper.transcribe() pads the audio before it makes the spectrogram


@dataclass(frozen=True, kw_only=True)
class ModelMemory:
    """The bytes that one model in one precision needs on a device."""

    weights: int  # once per model
    form: Form  # of cross-attention
    cross: int  # per slot: what cross-attention reads of the encoded window
    self_kv: int  # per slot: keys and values of the text, for all of its rows
    logits: int  # per slot: for all of its rows
    encoder: int  # workspace: activations of one encoder batch
    context: int  # workspace: the CUDA context, nothing on a CPU
    graphs: int  # workspace: the graph pool, nothing on a CPU
    host: int  # per slot: audio and spectrogram, always in the host's memory

    @property
    def slot(self) -> int:
        """Return the device bytes per additional slot."""
        return self.cross + self.self_kv + self.logits

    @property
    def workspace(self) -> int:
        """Return the device bytes that the engine needs besides weights and slots."""
        return self.encoder + self.context + self.graphs

    @property
    def smallest(self) -> int:
        """Return the device bytes with one slot; with less, the model does not fit."""
        return self.total(1)

    def total(self, slots: int) -> int:
        """Return the device bytes with this number of slots."""
        return self.weights + self.workspace - self.encoder_unused(slots) + slots * self.slot

    def encoder_unused(self, slots: int) -> int:
        """Return the bytes of the encoder's workspace that stay unused with fewer slots than an encoder batch."""
        missing = max(ENCODER_ROWS - slots, 0) if self.context else 0
        return self.encoder * missing * _ENCODER_UNITS_PER_WINDOW // _encoder_units(ENCODER_ROWS)


def form_of(asked: CrossAttention, element_bytes: int, capability: tuple[int, int] | None) -> Form:
    """The form of cross-attention of a model of such numbers on a GPU with this compute capability.

    None is a CPU, a GPU without Triton, or unknown: the form that needs more memory, so that no slot is promised
    in vain. Absorbed is what the fused kernel serves: in either half precision, Hopper and the larger Blackwells
    (12.0, the smaller ones, have too little shared memory).
    """
    if asked != "auto":
        return asked
    is_served = capability is not None and (9, 0) <= capability < (12, 0) and element_bytes == 2
    return "absorbed" if is_served else "cached"


def forms_of(asked: CrossAttention, capability: tuple[int, int] | None) -> dict[Precision, Form]:
    """Return the form of cross-attention per precision, see `form_of`."""
    return {precision: form_of(asked, size, capability) for precision, size in ELEMENT_BYTES.items()}


def audio_shape(dims: ModelDims, form: Form) -> tuple[int, ...]:
    """Return the shape of what a slot keeps of an encoded window: [frame, state] or [layer, frame, 2, head, width]."""
    if form == "absorbed":
        return dims.n_audio_ctx, dims.n_audio_state
    width = dims.n_text_state // dims.n_text_head
    return dims.n_text_layer, dims.n_audio_ctx, 2, dims.n_text_head, width


def memory_of(
    dims: ModelDims,
    precision: Precision,
    *,
    device: str,
    segment_duration: float,
    rows_per_slot: int = 1,
    form: Form = "cached",
) -> ModelMemory:
    """Return the memory of a model on `device` (cuda or cpu).

    `segment_duration` is in seconds; `rows_per_slot` is beam_size or best_of.
    """
    size = ELEMENT_BYTES[precision]
    on_gpu = device != "cpu"
    text_layer = 2 * dims.n_text_state * size * dims.n_text_layer
    return ModelMemory(
        weights=(parameters(dims) + dims.n_audio_ctx * dims.n_audio_state) * size,
        form=form,
        cross=math.prod(audio_shape(dims, form)) * size,
        self_kv=text_layer * dims.n_text_ctx * rows_per_slot,
        logits=dims.n_vocab * _LOGIT_BYTES * rows_per_slot,
        encoder=_encoder(dims, size, on_gpu=on_gpu),
        context=CUDA_CONTEXT_BYTES if on_gpu else 0,
        graphs=LIBRARY_BYTES + GRAPH_LAYER_BYTES * dims.n_text_layer if on_gpu else 0,
        host=_host_slot(dims, segment_duration),
    )


def _encoder(dims: ModelDims, size: int, *, on_gpu: bool) -> int:
    """Return the encoder's activations: a batch of windows on a GPU, one block of one window on a CPU.

    That block has a residual, a norm, and two tensors of 4 x width.
    """
    units = _encoder_units(ENCODER_ROWS) if on_gpu else 10
    return units * dims.n_audio_ctx * dims.n_audio_state * size


def _encoder_units(windows: int) -> int:
    return _ENCODER_UNITS + _ENCODER_UNITS_PER_WINDOW * windows


def _host_slot(dims: ModelDims, segment_duration: float) -> int:
    """Return the audio as 16-bit and float32 samples, the mel spectrogram with whisper's padding, and a piece's share.

    The 16-bit samples are freed before the spectrogram is computed, but the allocator keeps their memory.
    """
    audio = segment_duration * _SAMPLE_RATE * (2 + 4)
    mel = (segment_duration + _PADDING_SECONDS) * _FRAMES_PER_SECOND * dims.n_mels * 4
    return int(audio + mel) + _PIECE_BYTES
