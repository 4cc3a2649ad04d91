"""A window whose rows are in the batch, from its first sampled token to its result."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from whisper.utils import compression_ratio

from whisper_fleet.workers.engine.batch.beam import BeamSearch, rank
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.engine.batch.window import Window
from whisper_fleet.workers.link.protocol import Decoded


@dataclass(eq=False)
class Decoding:
    """A window whose rows are in the batch."""

    window: Window
    plan: DecodePlan
    mask: int
    joined: int  # number of the first decode step that moves its rows
    beam: BeamSearch | None = None


def result_of(decoding: Decoding, fetched: dict[int, tuple[list[int], float, float]]) -> Decoded:
    """The best of the window's sequences, from what its rows held at the end: tokens, log-probability, silence."""
    plan, window = decoding.plan, decoding.window
    found = [fetched[row] for row in window.rows]
    if decoding.beam is not None:
        candidates, logprobs = decoding.beam.candidates()
    else:
        end = plan.tokenizer.eot
        candidates = [tokens[: tokens.index(end)] if end in tokens else tokens for tokens, _, _ in found]
        logprobs = [logprob for _, logprob, _ in found]
    best = rank(candidates, logprobs, plan.options.length_penalty)
    text = plan.tokenizer.decode(candidates[best]).strip()
    return Decoded(
        language=plan.language or "en",
        tokens=candidates[best],
        text=text,
        avg_logprob=logprobs[best] / (len(candidates[best]) + 1),
        no_speech_prob=found[0][2],
        temperature=plan.options.temperature,
        compression_ratio=compression_ratio(text),
    )


def seed_of(fingerprint: int, plan: DecodePlan, member: int) -> int:
    """The same for the same audio, prompt, temperature and member of the group, whatever else is running."""
    drawn_from = (fingerprint, plan.initial_tokens, plan.options.temperature, member)
    return zlib.crc32(repr(drawn_from).encode()) & 0x7FFFFFFF
