"""Word times: the alignment heads' attention over a window, as whisper.timing.find_alignment prepares it."""

from __future__ import annotations

import torch
from torch import Tensor
from whisper.timing import median_filter

from workers.engine.attention import AlignmentAttention
from workers.engine.encoded import EncodedAudio
from workers.engine.kv_cache import KvCache
from workers.engine.network import Network
from workers.engine.plan import model_tokenizer
from workers.engine.protocol import Align, Aligned, spec_of


def align(
    network: Network,
    cache: KvCache,
    encoded: EncodedAudio,
    slot: int,
    request: Align,
    heads: tuple[tuple[int, int], ...],
) -> tuple[Aligned, Tensor]:
    """Read the text once over the slot's audio; the reply's tensor is `matrix` [tokens + 1, frames]."""
    device = network.weights.embedding.device
    tokenizer = model_tokenizer(network.dims, request.language, request.task)
    start = len(tokenizer.sot_sequence)
    text = request.text_tokens
    read = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *text, tokenizer.eot]
    tokens = torch.tensor(read, device=device)
    attention = AlignmentAttention(cache, encoded, torch.tensor([slot], device=device), len(read), heads)
    hidden = network.decode(tokens, torch.arange(len(read), device=device), attention)
    logits = network.logits(hidden[start : start + len(text)]).float()
    chances = logits[:, : tokenizer.eot].softmax(-1).gather(1, tokens[start + 1 : -1, None])[:, 0]
    weights = (attention.scores[:, :, : request.num_frames // 2] * request.qk_scale).softmax(-1)
    std, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    filtered = median_filter(((weights - mean) / std).cpu(), request.medfilt_width)
    matrix = filtered.mean(dim=0)[start:-1].contiguous()
    return Aligned(text_token_probs=chances.tolist(), tensor=spec_of(matrix)), matrix
