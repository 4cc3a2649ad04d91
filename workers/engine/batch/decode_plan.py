"""What a decode request means for a model: whisper's options resolved into the numbers the batch works with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import ModelDimensions
from whisper.tokenizer import Tokenizer, get_tokenizer

from whisper_fleet.shared.errors import EngineRequestInvalid

_CHUNK_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """One window's decoding, resolved."""

    options: DecodingOptions
    tokenizer: Tokenizer
    initial_tokens: tuple[int, ...]
    sot_index: int  # where in initial_tokens the start of transcript is
    max_sampled: int  # tokens, the end of text included
    suppressed: tuple[int, ...]  # tokens that no step may sample
    suppress_blank: bool
    timestamps: bool  # whether the timestamp rules apply
    max_initial_timestamp: int | None  # token id
    language: str | None  # None: to be detected first

    @property
    def rows(self) -> int:
        """Rows of the batch that the window needs."""
        return self.options.beam_size or self.options.best_of or 1

    @property
    def is_beam(self) -> bool:
        return self.options.beam_size is not None

    @property
    def max_candidates(self) -> int:
        """Finished sequences after which a beam search ends."""
        return round((self.options.beam_size or 1) * (self.options.patience or 1.0))

    def in_language(self, language: str, token: int) -> DecodePlan:
        """The same plan once the language is detected."""
        tokens = list(self.initial_tokens)
        tokens[self.sot_index + 1] = token
        return replace(self, language=language, initial_tokens=tuple(tokens))


def plan_decode(options: DecodingOptions, dims: ModelDimensions) -> DecodePlan:
    """Resolve whisper's options as its own DecodingTask does; EngineRequestInvalid where that refuses them."""
    try:
        task = DecodingTask(_stand_in(dims), options)
        suppressed = task._get_suppress_tokens() if options.suppress_tokens else ()
    except (ValueError, AssertionError, TypeError, KeyError) as error:
        raise EngineRequestInvalid(reason=str(error)) from error
    tokenizer = task.tokenizer
    timestamps = not options.without_timestamps
    if timestamps and tokenizer.no_timestamps is not None:
        suppressed = (*suppressed, tokenizer.no_timestamps)
    length = len(task.initial_tokens)
    max_sampled = min(task.sample_len, dims.n_text_ctx + 1 - length)
    if max_sampled < 1:
        raise EngineRequestInvalid(reason=f"prompt and prefix of {length} tokens leave no room for text")
    if not all(0 <= token < dims.n_vocab for token in (*task.initial_tokens, *suppressed)):
        raise EngineRequestInvalid(reason="a token is outside the model's vocabulary")
    if options.language is None and not multilingual(dims):
        raise EngineRequestInvalid(reason="this model has no language tokens, so name the language")
    return DecodePlan(
        options=options,
        tokenizer=tokenizer,
        initial_tokens=task.initial_tokens,
        sot_index=task.sot_index,
        max_sampled=max_sampled,
        suppressed=tuple(sorted(set(suppressed))),
        suppress_blank=bool(options.suppress_blank),
        timestamps=timestamps,
        max_initial_timestamp=_max_initial_timestamp(options, tokenizer, dims),
        language=options.language,
    )


def model_tokenizer(dims: ModelDimensions, language: str | None = None, task: str | None = None) -> Tokenizer:
    """Whisper's tokenizer for a model."""
    languages = num_languages(dims)
    return get_tokenizer(multilingual(dims), num_languages=languages, language=language, task=task)


def multilingual(dims: ModelDimensions) -> bool:
    return bool(dims.n_vocab >= 51865)


def num_languages(dims: ModelDimensions) -> int:
    return int(dims.n_vocab - 51765 - multilingual(dims))


def _max_initial_timestamp(options: DecodingOptions, tokenizer: Tokenizer, dims: ModelDimensions) -> int | None:
    if options.without_timestamps or not options.max_initial_timestamp:
        return None
    seconds_a_token = _CHUNK_SECONDS / dims.n_audio_ctx
    return int(tokenizer.timestamp_begin + round(options.max_initial_timestamp / seconds_a_token))


def _stand_in(dims: ModelDimensions) -> SimpleNamespace:
    """As much of a model as DecodingTask looks at before it runs."""
    return SimpleNamespace(
        dims=dims,
        is_multilingual=multilingual(dims),
        num_languages=num_languages(dims),
        decoder=SimpleNamespace(blocks=()),
    )
