"""Shapes of models that are small enough for a test."""

from __future__ import annotations

from whisper_fleet.shared.models import ModelDims


def small_dims(
    *, state: int = 64, heads: int = 1, layers: int = 1, vocabulary: int = 51865, mels: int = 80
) -> ModelDims:
    """Return a Whisper's shape with as many encoder as decoder layers."""
    return ModelDims(
        n_mels=mels,
        n_vocab=vocabulary,
        n_audio_ctx=1500,
        n_audio_state=state,
        n_audio_head=heads,
        n_audio_layer=layers,
        n_text_ctx=448,
        n_text_state=state,
        n_text_head=heads,
        n_text_layer=layers,
    )
