"""One window's decoding as numbers: whisper's options, resolved for a model."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """One window's decoding, resolved. Tokens are ids of the model's vocabulary."""

    initial_tokens: tuple[int, ...]
    sot_index: int  # where in initial_tokens the start of transcript is
    max_sampled: int  # tokens, the end of text included
    end_of_text: int
    suppressed: tuple[int, ...]  # tokens that no step may sample, sorted
    suppress_blank: bool
    timestamps: bool  # whether the timestamp rules apply
    max_initial_timestamp: int | None  # token
    temperature: float
    rows: int  # of the batch: beams, candidates, or one
    is_beam: bool
    max_candidates: int  # finished sequences after which a beam search ends
    length_penalty: float | None
    language: str | None  # None until it is detected
    is_language_only: bool  # whether the language is all that is asked for

    def in_language(self, language: str, token: int) -> DecodePlan:
        """Return the same plan with the detected language and its token."""
        tokens = list(self.initial_tokens)
        tokens[self.sot_index + 1] = token
        return replace(self, language=language, initial_tokens=tuple(tokens))
