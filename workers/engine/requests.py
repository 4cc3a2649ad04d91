"""Requests about a window, checked against the model and resolved into the numbers that the batch works with.

A request that the model cannot serve must be refused here: a GPU would be lost to a position or a token that does not
exist.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from types import SimpleNamespace
from typing import Final

from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.tokenizer import Tokenizer, get_tokenizer

from whisper_fleet.shared.errors import EngineRequestInvalid
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.link.decode_options import options_of
from whisper_fleet.workers.link.protocol import Align, Decode, DetectLanguage

_WINDOW_SECONDS: Final = 30


def check_request(
    request: Decode | DetectLanguage | Align, mel: Tensor | None, dims: ModelDims, max_rows: int
) -> DecodePlan | None:
    """Return the plan of a decode request, None for the others; EngineRequestInvalid if the model cannot serve it.

    `mel` is the window's spectrogram, [n_mels, 3000], or None if the request is about the window sent last.
    """
    if mel is not None and tuple(mel.shape) != (dims.n_mels, 2 * dims.n_audio_ctx):
        raise EngineRequestInvalid(reason=f"this model takes no mel of shape {tuple(mel.shape)}")
    match request:
        case DetectLanguage():
            if not dims.is_multilingual:
                raise EngineRequestInvalid(reason="this model has no language tokens")
        case Align():
            alignment_tokens(request, dims)
        case Decode():
            plan = plan_decode(options_of(request), dims)
            if not 1 <= plan.rows <= max_rows:
                raise EngineRequestInvalid(reason=f"{plan.rows} beams or candidates are not 1 to {max_rows}")
            return plan
    return None


def model_tokenizer(dims: ModelDims, language: str | None = None, task: str | None = None) -> Tokenizer:
    """Return whisper's tokenizer for a model."""
    return get_tokenizer(dims.is_multilingual, num_languages=dims.num_languages, language=language, task=task)


def fingerprint_of(mel: Tensor) -> int:
    """Return a few hundred of a window's values as one number: it seeds the window's random streams."""
    return hash(tuple(mel.flatten()[::997].tolist()))


def plan_decode(options: DecodingOptions, dims: ModelDims) -> DecodePlan:
    """Resolve whisper's options as its own DecodingTask does; EngineRequestInvalid if that refuses them.

    All but the prompt is the same for most windows, so it is resolved once per kind of request.
    """
    try:
        task, plan = _kind_of_request(_kind(options), dims)
        initial = _initial(task, options) if options.prompt or options.prefix else plan.initial_tokens
    except (ValueError, AssertionError, TypeError, KeyError) as error:
        raise EngineRequestInvalid(reason=str(error)) from error
    max_sampled = min(task.sample_len, dims.n_text_ctx + 1 - len(initial))
    _check_prompt(initial, max_sampled, dims)
    return replace(plan, initial_tokens=initial, sot_index=initial.index(task.tokenizer.sot), max_sampled=max_sampled)


def _kind(options: DecodingOptions) -> DecodingOptions:
    """Return the options without prompt and prefix, in a form that can be looked up."""
    suppressed = options.suppress_tokens
    hashable = suppressed if isinstance(suppressed, str | None) else tuple(suppressed)
    return replace(options, prompt=None, prefix=None, suppress_tokens=hashable)


def _initial(task: DecodingTask, options: DecodingOptions) -> tuple[int, ...]:
    """Return the tokens that are read before the first is sampled, for the prompt and the prefix of these options."""
    asked = copy.copy(task)
    asked.options = options
    return tuple(asked._get_initial_tokens())


@functools.lru_cache(maxsize=256)
def _kind_of_request(options: DecodingOptions, dims: ModelDims) -> tuple[DecodingTask, DecodePlan]:
    """Return whisper's task for options of `_kind`, and the plan of a window without a prompt."""
    if isinstance(options.suppress_tokens, tuple):
        options = replace(options, suppress_tokens=list(options.suppress_tokens))
    task = DecodingTask(_stand_in(dims), options)
    suppressed = task._get_suppress_tokens() if options.suppress_tokens else ()
    timestamps = not options.without_timestamps
    if timestamps and task.tokenizer.no_timestamps is not None:
        suppressed = (*suppressed, task.tokenizer.no_timestamps)
    if not all(0 <= token < dims.n_vocab for token in suppressed):
        raise EngineRequestInvalid(reason="a token is outside the model's vocabulary")
    if options.language is None and not dims.is_multilingual:
        raise EngineRequestInvalid(reason="this model has no language tokens, so name the language")
    return task, DecodePlan(
        initial_tokens=task.initial_tokens,
        sot_index=task.sot_index,
        max_sampled=task.sample_len,
        end_of_text=task.tokenizer.eot,
        suppressed=tuple(sorted(set(suppressed))),
        suppress_blank=bool(options.suppress_blank),
        timestamps=timestamps,
        max_initial_timestamp=_max_initial_timestamp(options, task.tokenizer, dims),
        temperature=options.temperature,
        rows=options.beam_size or options.best_of or 1,
        is_beam=options.beam_size is not None,
        max_candidates=round((options.beam_size or 1) * (options.patience or 1.0)),
        length_penalty=options.length_penalty,
        language=options.language,
        is_language_only=options.task == "lang_id",
    )


def alignment_tokens(request: Align, dims: ModelDims) -> tuple[list[int], int]:
    """Return the tokens that are read to align a text, and the end of text; EngineRequestInvalid if they do not fit.

    Whisper itself fails on a text of too many tokens.
    """
    try:
        tokenizer = model_tokenizer(dims, request.language, request.task)
    except ValueError as error:
        raise EngineRequestInvalid(reason=str(error)) from error
    tokens = [*tokenizer.sot_sequence, tokenizer.no_timestamps, *request.text_tokens, tokenizer.eot]
    if len(tokens) > dims.n_text_ctx:
        raise EngineRequestInvalid(reason=f"{len(request.text_tokens)} tokens of text are too many for word times")
    if not all(0 <= token < tokenizer.eot for token in request.text_tokens):
        raise EngineRequestInvalid(reason="a token is no text")
    return tokens, tokenizer.eot


def _check_prompt(initial: tuple[int, ...], max_sampled: int, dims: ModelDims) -> None:
    if max_sampled < 1:
        raise EngineRequestInvalid(reason=f"prompt and prefix of {len(initial)} tokens leave no room for text")
    if min(initial) < 0 or max(initial) >= dims.n_vocab:
        raise EngineRequestInvalid(reason="a token is outside the model's vocabulary")


def _max_initial_timestamp(options: DecodingOptions, tokenizer: Tokenizer, dims: ModelDims) -> int | None:
    if options.without_timestamps or not options.max_initial_timestamp:
        return None
    seconds_per_token = _WINDOW_SECONDS / dims.n_audio_ctx
    return int(tokenizer.timestamp_begin + round(options.max_initial_timestamp / seconds_per_token))


def _stand_in(dims: ModelDims) -> SimpleNamespace:
    """Return as much of a model as DecodingTask looks at before it runs."""
    return SimpleNamespace(
        dims=dims,
        is_multilingual=dims.is_multilingual,
        num_languages=dims.num_languages,
        decoder=SimpleNamespace(blocks=()),
    )
