"""Random weights of an official model's shape, for measurements of speed and memory."""

from __future__ import annotations

import torch
from torch import Tensor
from whisper.model import AudioEncoder, TextDecoder

from whisper_fleet.shared.models import ModelDims

#: The last tokens of every vocabulary, 0.00 to 30.00 s.
_TIMESTAMPS = 1501


def random_weights(d: ModelDims, device: str) -> dict[str, Tensor]:
    """Return float16 weights by their names in a checkpoint, the same on every call.

    Free to choose, the model never says a timestamp: of every two together whisper makes a segment, and goes on from
    the last, so that random ones mean a hundred segments a window and windows that overlap.
    """
    torch.manual_seed(0)
    with torch.device("meta"):  # the layout, without memory behind it
        encoder = AudioEncoder(d.n_mels, d.n_audio_ctx, d.n_audio_state, d.n_audio_head, d.n_audio_layer)
        decoder = TextDecoder(d.n_vocab, d.n_text_ctx, d.n_text_state, d.n_text_head, d.n_text_layer)
    layout = torch.nn.ModuleDict({"encoder": encoder, "decoder": decoder}).state_dict()
    weights = {name: _random(name, value, device) for name, value in layout.items()}
    weights["decoder.token_embedding.weight"][-_TIMESTAMPS:] = 0  # their logits are 0, far from the largest
    return weights


def _random(name: str, like: Tensor, device: str) -> Tensor:
    """Return small random numbers, around one for the scale of a layer norm; takes about a second on a GPU."""
    drawn = torch.randn(like.shape, device=device, dtype=torch.float16) * 0.02
    scales = name.endswith("weight") and like.ndim == 1
    return drawn + 1 if scales else drawn
