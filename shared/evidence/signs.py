"""Decides from its numbers, its text and its sound whether a segment's text may be invented. Pure.

The signs in numbers and text cost nothing, so every segment is examined for them. Only segments that show one are
worth the voice activity detector, which takes about a second per minute of audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from whisper_fleet.shared.evidence.phrases import is_known_phrase, normalized
from whisper_fleet.shared.transcript import Segment

Reason = Literal["compression_ratio", "avg_logprob", "no_speech_prob", "repetition", "known_phrase", "no_voice"]

#: Whisper's own thresholds, beyond which it retries a window or takes it for silence.
_COMPRESSION_RATIO = 2.4
_AVG_LOGPROB = -1.0
_NO_SPEECH_PROB = 0.6

#: Repetitions of a unit in a row that make a loop, by its length in words; people do say "no, no, no, no".
_LONGEST_UNIT = 12
_REPETITIONS_OF_A_WORD = 6
_REPETITIONS = 4
#: Segments: one text, or up to three in turn, that come this often in a row.
_LONGEST_TURN = 3
_REPETITIONS_OF_SEGMENTS = 3

#: Shares of speech in a segment's time. Below the first, nobody speaks; from the second on, somebody certainly does.
SPEECHLESS = 0.05
SPOKEN = 0.25
#: Signs of silence, which speech refutes. The others concern the text, whatever is heard.
_OF_SILENCE: frozenset[Reason] = frozenset({"no_speech_prob", "known_phrase"})


def cheap_signs(segments: Sequence[Segment]) -> list[tuple[Reason, ...]]:
    """Return for each segment the signs in its numbers and its text."""
    looped = _looped([normalized(segment.text) for segment in segments])
    return [tuple(_signs(segment, is_looped)) for segment, is_looped in zip(segments, looped, strict=True)]


def judged(signs: tuple[Reason, ...], speech: float | None) -> tuple[Reason, ...]:
    """Return the signs that hold, given the share of speech, 0 to 1, in the segment's time; None: not measured."""
    if speech is None:
        return signs
    kept = tuple(sign for sign in signs if sign not in _OF_SILENCE or speech < SPOKEN)
    return (*kept, "no_voice") if speech < SPEECHLESS else kept


def has_loop(words: Sequence[str]) -> bool:
    """Return whether a unit of one or more words is repeated in a row, as Whisper does when it is stuck."""
    for length in range(1, min(_LONGEST_UNIT, len(words) // _REPETITIONS) + 1):
        least = _REPETITIONS_OF_A_WORD if length == 1 else _REPETITIONS
        if _longest_run(words, length) >= length * (least - 1):
            return True
    return False


def _signs(segment: Segment, is_looped: bool) -> list[Reason]:
    text = normalized(segment.text)
    found: dict[Reason, bool] = {
        "compression_ratio": _exceeds(segment.compression_ratio, _COMPRESSION_RATIO),
        "avg_logprob": segment.avg_logprob is not None and segment.avg_logprob < _AVG_LOGPROB,
        "no_speech_prob": _exceeds(segment.no_speech_prob, _NO_SPEECH_PROB),
        "repetition": is_looped or has_loop(text.split() if " " in text else text),
        "known_phrase": is_known_phrase(segment.text),
    }
    return [reason for reason, holds in found.items() if holds] if text else []


def _exceeds(value: float | None, threshold: float) -> bool:
    return value is not None and value > threshold


def _looped(texts: Sequence[str]) -> list[bool]:
    """Return for each text whether it is part of a loop of one to three texts in turn."""
    looped = [False] * len(texts)
    for length in range(1, _LONGEST_TURN + 1):
        run = 0
        for at in range(length, len(texts) + 1):
            if at < len(texts) and texts[at] and texts[at] == texts[at - length]:
                run += 1
                continue
            if run >= length * (_REPETITIONS_OF_SEGMENTS - 1):
                looped[at - run - length : at] = [True] * (run + length)
            run = 0
    return looped


def _longest_run(words: Sequence[str], length: int) -> int:
    """Return the longest run of words that equal the word `length` places before."""
    longest = run = 0
    for at in range(length, len(words)):
        run = run + 1 if words[at] == words[at - length] else 0
        longest = max(longest, run)
    return longest
