"""Carries out the batcher's steps for one model: everything that touches tensors."""

from __future__ import annotations

import math
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.shared.memory import form_of
from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.workers.engine.batch.beam import BeamSearch
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan, model_tokenizer, multilingual
from whisper_fleet.workers.engine.batch.result import Decoding, result_of, seed_of
from whisper_fleet.workers.engine.batch.window import Window
from whisper_fleet.workers.engine.cache.cross_attention import EncodedAudio
from whisper_fleet.workers.engine.cache.kv_cache import MOST_ROWS, KvCache
from whisper_fleet.workers.engine.cuda.graphs import bucket_of
from whisper_fleet.workers.engine.cuda.path import SHORTEST, FusedPath, capability, fast_path
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.model.linear import can_pack
from whisper_fleet.workers.engine.model.weights import place_weights
from whisper_fleet.workers.engine.network.attention import PromptAttention, step_attention
from whisper_fleet.workers.engine.network.host_attention import plain_audio
from whisper_fleet.workers.engine.network.network import Network, PlainArithmetic
from whisper_fleet.workers.engine.sampling import rules
from whisper_fleet.workers.engine.sampling.row_state import FloatColumn, IntColumn, RowState, int_row
from whisper_fleet.workers.link.protocol import Decoded, Language

#: Tokens up to which a prompt attends to the audio like so many decode steps.
_SHORT = 8
#: Tokens that prompts are padded to, so that few shapes exist.
_PROMPTS = (4, 8, 32, 64, 128, 256, 448)


@dataclass
class _Seen:
    """Which rows are active after a decode step, on its way to the host."""

    step: int
    active: Tensor
    event: torch.cuda.Event | None = field(default=None)


class Runner:
    """One model on one device: weights, cache, state, and what can be done with them."""

    def __init__(
        self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, *,
        reproducible: bool, cross_attention: CrossAttention = "auto",
    ) -> None:  # fmt: skip
        self.device, self._dtype, self._reproducible = device, dtype, reproducible
        form = form_of(cross_attention, dtype.itemsize, capability(device))
        pack = device.type == "cpu" and dtype == torch.float32 and form == "cached" and can_pack()
        weights = place_weights(checkpoint, dtype, device, pack=pack)
        self.dims = weights.dims
        self.cache = KvCache(self.dims, dtype, device, form)
        self.state = RowState(self.dims, device)
        self._tokenizer = model_tokenizer(self.dims)
        self.vocabulary = rules.vocabulary_of(self._tokenizer, self.dims.n_vocab, device)
        self._fast: FusedPath | None = fast_path(device, self.cache, self.state, self.vocabulary)
        self.network = Network(weights, self._fast.arithmetic if self._fast else PlainArithmetic())
        self.audio: EncodedAudio = (
            self._fast.attach(self.network, form) if self._fast else plain_audio(form, weights, self.cache)
        )
        self._decoding: dict[Window, Decoding] = {}
        self._steps = 0
        self._encoded: torch.cuda.Event | None = None
        self._seen: deque[_Seen] = deque()

    def encode(self, windows: tuple[Window, ...]) -> None:
        """Begin to encode the windows' audio into their sessions' slots."""
        groups = [(window,) for window in windows] if self._reproducible else [windows]
        for group in groups:
            mels = [window.mel for window in group if window.mel is not None]
            slots = [_slot(window) for window in group]
            if self._fast:
                self.finish_encoding(wait=True)
                self._encoded = self._fast.encode(mels, slots, self._dtype)
            else:
                features = self.network.encode(torch.stack(mels).to(device=self.device, dtype=self._dtype))
                self.audio.store(features, self.state.upload(slots, torch.long))
            for window in group:
                window.mel = None

    def finish_encoding(self, *, wait: bool) -> bool:
        """Whether the windows given to `encode` are encoded by now."""
        if self._encoded is not None:
            if not wait and not self._encoded.query():
                return False
            self._encoded.synchronize()
            self._encoded = None
        return True

    @property
    def stream(self) -> AbstractContextManager[object]:
        """Where this model's steps must be issued."""
        return torch.cuda.stream(self._fast.stream) if self._fast else nullcontext()

    def detect_language(self, windows: tuple[Window, ...]) -> list[Language]:
        """The languages of encoded windows, from one start-of-transcript token each."""
        hidden = torch.cat([self._read([window], [[self._tokenizer.sot]], None)[:1] for window in windows])
        logits = self.network.logits(hidden).float()
        forbidden = torch.ones(logits.shape[-1], dtype=torch.bool)
        forbidden[list(self._tokenizer.all_language_tokens)] = False
        logits[:, forbidden.to(self.device)] = float("-inf")
        tokens, chances = logits.argmax(-1).tolist(), logits.softmax(-1).cpu()
        codes = list(zip(self._tokenizer.all_language_codes, self._tokenizer.all_language_tokens, strict=True))
        return [
            Language(token=token, probs={code: float(row[number]) for code, number in codes})
            for token, row in zip(tokens, chances, strict=True)
        ]

    def start(self, windows: tuple[Window, ...]) -> None:
        """Read the prompts of encoded windows and sample their rows' first tokens."""
        alone = self._reproducible or self.device.type == "cpu"
        for group in [[window] for window in windows] if alone else [list(windows)]:
            self._start([(window, window.plan) for window in group if window.plan is not None])

    def _start(self, group: list[tuple[Window, DecodePlan]]) -> None:
        rows = self._admit(group)
        windows = [window for window, _ in group]
        prompts = [list(plan.initial_tokens) for _, plan in group]
        first = [window.rows[0] for window in windows]
        if self._fast and max(map(len, prompts)) <= SHORTEST:
            padded = [prompt + [self._tokenizer.eot] * (SHORTEST - len(prompt)) for prompt in prompts]
            hidden = self._fast.prompt(padded, [_slot(window) for window in windows], first)
            hidden = hidden[: SHORTEST * len(group)]
        else:
            hidden = self._read(windows, prompts, self.state.upload(first, torch.long))
        length = hidden.shape[0] // len(group)
        ends = [at * length + len(prompt) - 1 for at, prompt in enumerate(prompts)]
        starts = [at * length + plan.sot_index for at, (_, plan) in enumerate(group)]
        logits = self.network.logits(hidden[self.state.upload([*starts, *ends], torch.long)])
        source = [at for at, window in enumerate(windows) for _ in window.rows]
        if self.vocabulary.no_speech is not None:
            silence = logits[: len(group)].float().softmax(-1)[:, self.vocabulary.no_speech]
            self.state.floats[rows, FloatColumn.NO_SPEECH] = silence[self.state.upload(source, torch.long)]
        last = logits[len(group) :][self.state.upload(source, torch.long)]
        self._choose(last, rows, [self._decoding[window] for window in windows])

    def _admit(self, group: list[tuple[Window, DecodePlan]]) -> Tensor:
        """Give the windows' rows their first state; the rows, as a tensor."""
        numbers, ints, floats, leads = [], [], [], []
        for window, plan in group:
            in_use = {decoding.mask for decoding in self._decoding.values()}
            mask = self.state.mask_number(plan.suppressed, in_use)
            if mask is None:
                raise EngineOutOfMemory(what="another set of suppressed tokens")
            beam = None
            if plan.is_beam:
                beam = BeamSearch(beams=plan.rows, max_candidates=plan.max_candidates, end_of_text=plan.tokenizer.eot)
            self._decoding[window] = Decoding(window, plan, mask, self._steps, beam)
            for member, row in enumerate(window.rows):
                seed = seed_of(window.session.fingerprint, plan, member)
                numbers.append(row)
                ints.append(int_row(plan, slot=_slot(window), mask=mask, seed=seed))
                floats.append([0.0, plan.options.temperature, float("nan")])
                leads.append(window.rows[0])
        return self.state.admit(numbers, ints, floats, leads)

    def _read(self, windows: list[Window], prompts: list[list[int]], leads: Tensor | None) -> Tensor:
        """Hidden states of prompts, padded to one length: [windows * length, state]."""
        longest = max(map(len, prompts))
        length = longest if self.device.type == "cpu" else bucket_of(longest, _PROMPTS)
        tokens = [prompt + [self._tokenizer.eot] * (length - len(prompt)) for prompt in prompts]
        flat = self.state.upload(tokens, torch.long).flatten()
        positions = torch.arange(length, device=self.device).repeat(len(prompts))
        slots = self.state.upload([_slot(window) for window in windows], torch.long)
        attention = PromptAttention(self.cache, self.audio, slots, length, leads)
        if self._fast and length <= _SHORT:
            attention = self._fast.prompt_attention(slots, length, leads)
        return self.network.decode(flat, positions, attention)

    def decode(self) -> list[Window]:
        """One more token for every live row; the windows that are known to be complete by now."""
        live = list(self._decoding.values())
        draw = any(decoding.plan.options.temperature > 0 for decoding in live)
        if self._fast:
            top = max(max(decoding.window.rows) for decoding in live) + 1
            logits = self._fast.step(MOST_ROWS if self._reproducible else top, draw)  # not by slots: they change
            self._advance_beams(logits, live, None)
        else:
            self._plain_step(live)
        self._steps += 1
        self._look()
        return self._complete()

    def _plain_step(self, live: list[Decoding]) -> None:
        ordered = [decoding for decoding in live if self._is_active(decoding)]
        groups = [[one] for one in ordered] if self._reproducible else [ordered]
        for group in filter(None, groups):  # all may be done that the host still takes for running
            numbers = [row for decoding in group for row in decoding.window.rows]
            rows = torch.tensor(numbers, device=self.device)
            attention = step_attention(self.cache, self.audio, self.state, rows)
            tokens = self.state.ints[rows, IntColumn.TOKEN].long()
            positions = self.state.ints[rows, IntColumn.POSITION].long().clamp(max=self.dims.n_text_ctx - 1)
            logits = self.network.logits(self.network.decode(tokens, positions, attention))
            self._choose(logits, rows, group)

    def _is_active(self, decoding: Decoding) -> bool:
        return bool(self.state.active[decoding.window.rows].any())

    def _choose(self, logits: Tensor, rows: Tensor, group: list[Decoding]) -> None:
        """Next tokens from logits [len(rows), vocabulary] of the group's rows."""
        draw = any(decoding.plan.options.temperature > 0 for decoding in group)
        if self._fast:
            self._fast.select(logits, rows, draw)
        elif sampled := [at for at, one in enumerate(_owners(group)) if one.beam is None]:
            some = torch.tensor(sampled, device=self.device)
            masked = rules.apply_rules(logits[some], self.state, rows[some], self.vocabulary)
            tokens, logprobs = rules.sample(masked, self.state, rows[some], draw=draw)
            rules.push(tokens, logprobs, self.state, rows[some], self.vocabulary)
        self._advance_beams(logits, group, rows)

    def _advance_beams(self, logits: Tensor, group: list[Decoding], rows: Tensor | None) -> None:
        """Choose the beams' tokens together; `rows` None: logits are indexed by row."""
        numbers = range(0) if rows is None else [row for one in group for row in one.window.rows]
        at_of = {row: at for at, row in enumerate(numbers)}
        for decoding in group:
            if decoding.beam is None or decoding.beam.completed:
                continue
            own = self.state.upload(decoding.window.rows, torch.long)
            at = own if rows is None else self.state.upload([at_of[r] for r in decoding.window.rows], torch.long)
            masked = rules.apply_rules(logits[at], self.state, own, self.vocabulary)
            best = masked.log_softmax(-1).topk(len(own) + 1)
            tokens, sources = decoding.beam.advance(best.values.tolist(), best.indices.tolist())
            self.state.reorder(own, self.state.upload(sources, torch.long))
            chosen = self.state.upload(tokens, torch.long)
            rules.push(chosen, torch.zeros(len(own), device=self.device), self.state, own, self.vocabulary)
            if decoding.beam.completed:
                self.state.drop(decoding.window.rows)

    def _look(self) -> None:
        """Send which rows are active after this step to the host, without waiting for it."""
        if self.device.type == "cpu":
            self._seen.append(_Seen(self._steps - 1, self.state.active.clone()))
            return
        host = torch.empty(self.state.active.shape, dtype=torch.int32, pin_memory=True)
        host.copy_(self.state.active, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._seen.append(_Seen(self._steps - 1, host, event))

    def _complete(self) -> list[Window]:
        """Windows none of whose rows was active when we last could see; on a GPU that is one step ago."""
        complete: list[Window] = []
        while len(self._seen) > (self.device.type == "cuda"):
            seen = self._seen.popleft()
            if seen.event is not None:
                seen.event.synchronize()
            active = seen.active.tolist()
            for window, decoding in self._decoding.items():
                if seen.step >= decoding.joined and not any(active[row] for row in window.rows):
                    complete.append(window)
        return list(dict.fromkeys(complete))

    def results(self, windows: list[Window]) -> list[Decoded]:
        """What complete windows decoded to; they leave the batch."""
        fetched = self.state.fetch([row for window in windows for row in window.rows])
        found = [result_of(self._decoding.pop(window), fetched) for window in windows]
        for window, decoded in zip(windows, found, strict=True):
            if math.isnan(decoded.avg_logprob):
                self.cache.wipe(window.rows)
        return found

    def drop(self, window: Window) -> None:
        """The window's client is gone or its step failed: its rows leave the batch."""
        if self._decoding.pop(window, None) is not None:
            with self.stream:  # before whoever has the rows next
                self.state.drop(window.rows)
                self.cache.wipe(window.rows)

    def release(self) -> None:
        """Give the model's memory back; the runner cannot be used afterwards."""
        self._seen.clear()
        self._fast = None
        del self.network, self.audio, self.state
        self.cache.release()

    @property
    def can_detect_language(self) -> bool:
        return multilingual(self.dims)


def _owners(group: list[Decoding]) -> list[Decoding]:
    """The window of each row, in the order of the rows."""
    return [decoding for decoding in group for _ in decoding.window.rows]


def _slot(window: Window) -> int:
    if window.session.cache_slot is None:
        raise RuntimeError("a window without a slot was scheduled")
    return window.session.cache_slot
