"""The evidence for word times: the alignment heads' attention over a window, as whisper.timing computes it."""

from __future__ import annotations

import torch
from torch import Tensor
from whisper.timing import median_filter

from whisper_fleet.workers.engine.cache.cross_attention import EncodedAudio
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.network.attention import AlignmentAttention
from whisper_fleet.workers.engine.network.network import Network
from whisper_fleet.workers.engine.requests import alignment_tokens
from whisper_fleet.workers.link.framing import spec_of
from whisper_fleet.workers.link.protocol import Align, Aligned


def align(
    network: Network,
    cache: KvCache,
    encoded: EncodedAudio,
    slot: int,
    request: Align,
    heads: tuple[tuple[int, int], ...],
) -> tuple[Aligned, Tensor]:
    """Read a text once over a slot's audio, as whisper.timing.find_alignment does before its DTW.

    Returns the reply and its tensor, the matrix [text tokens + 1, frames] in float32. Waits for the device.
    """
    device = network.weights.embedding.device
    read, end_of_text = alignment_tokens(request, network.dims)
    start = len(read) - len(request.text_tokens) - 2
    tokens = torch.tensor(read, device=device)
    attention = AlignmentAttention(cache, encoded, torch.tensor([slot], device=device), len(read), heads)
    hidden = network.decode(tokens, torch.arange(len(read), device=device), attention)
    logits = network.logits(hidden[start:-2]).float()
    chances = logits[:, :end_of_text].softmax(-1).gather(1, tokens[start + 1 : -1, None])[:, 0]
    weights = (attention.scores[:, :, : request.num_frames // 2] * request.qk_scale).softmax(-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    filtered = median_filter(((weights - mean) / std).cpu(), request.medfilt_width)
    matrix = filtered.mean(dim=0)[start:-1].contiguous()
    return Aligned(text_token_probs=chances.tolist(), tensor=spec_of(matrix)), matrix
