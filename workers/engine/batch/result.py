"""The windows whose rows are in the batch, and the best of the sequences that they sampled."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from whisper_fleet.workers.engine.batch.beam import BeamSearch, rank
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.engine.batch.window import Window


@dataclass(eq=False)
class Decoding:
    """A window whose rows are in the batch."""

    window: Window
    plan: DecodePlan
    mask: int  # number of its static logit mask
    joined: int  # number of the first decode step that moves its rows
    beam: BeamSearch | None = None


@dataclass(frozen=True, kw_only=True)
class SampledRow:
    """What a row held at its end."""

    tokens: list[int]
    sum_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, kw_only=True)
class BestSequence:
    """The sequence that a window is decoded to."""

    tokens: list[int]  # without the end of text
    avg_logprob: float
    no_speech_prob: float


def best_sequence(decoding: Decoding, sampled: Mapping[int, SampledRow]) -> BestSequence:
    """Return the best of a window's sequences, as whisper ranks them; `sampled` holds its rows."""
    plan = decoding.plan
    rows = [sampled[row] for row in decoding.window.rows]
    if decoding.beam is not None:
        candidates, logprobs = decoding.beam.candidates()
    else:
        candidates = [_before_end(row.tokens, plan.end_of_text) for row in rows]
        logprobs = [row.sum_logprob for row in rows]
    best = rank(candidates, logprobs, plan.length_penalty)
    tokens = candidates[best]
    average = logprobs[best] / (len(tokens) + 1)
    return BestSequence(tokens=tokens, avg_logprob=average, no_speech_prob=rows[0].no_speech_prob)


def seed_of(fingerprint: int, plan: DecodePlan, member: int) -> int:
    """Return the seed of a row's random stream, 0 to 2^31 - 1.

    It depends on the audio, the prompt, the temperature and the row's place in its group, not on other windows.
    """
    drawn_from = (fingerprint, plan.initial_tokens, plan.temperature, member)
    return zlib.crc32(repr(drawn_from).encode()) & 0x7FFFFFFF


def _before_end(tokens: list[int], end_of_text: int) -> list[int]:
    return tokens[: tokens.index(end_of_text)] if end_of_text in tokens else tokens
