"""Carries out the batcher's steps for one model: what they mean for rows, beams and the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from whisper.utils import compression_ratio

from whisper_fleet.shared.errors import EngineOutOfMemory
from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.workers.engine.alignment import align
from whisper_fleet.workers.engine.batch.beam import BeamSearch
from whisper_fleet.workers.engine.batch.decode_plan import DecodePlan
from whisper_fleet.workers.engine.batch.policy import BatchPolicy
from whisper_fleet.workers.engine.batch.result import BestSequence, Decoding, best_sequence, seed_of
from whisper_fleet.workers.engine.batch.window import Window
from whisper_fleet.workers.engine.device.capability import capability
from whisper_fleet.workers.engine.device.device_model import DeviceModel, place_model
from whisper_fleet.workers.engine.device.device_path import DevicePath, GroupLogits
from whisper_fleet.workers.engine.device.language import detect_languages
from whisper_fleet.workers.engine.device.plain_path import PlainPath
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint
from whisper_fleet.workers.engine.sampling import rules
from whisper_fleet.workers.engine.sampling.row_state import FloatColumn, int_row
from whisper_fleet.workers.link.protocol import Align, Aligned, Decoded, Language


class Runner:
    """One model on one device, and the windows whose rows are in its batch."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        policy: BatchPolicy,
        *,
        cross_attention: CrossAttention = "auto",
        bit_exact_encoder: bool = False,
    ) -> None:
        self._policy = policy
        self._alignment_heads = checkpoint.alignment_heads
        self.model = place_model(checkpoint, dtype, device, policy, cross_attention)
        self.path = path_of(self.model, policy, bit_exact_encoder=bit_exact_encoder)
        self._decoding: dict[Window, Decoding] = {}
        self._steps = 0

    @property
    def stream(self) -> AbstractContextManager[object]:
        """The context in which this model's steps must be issued."""
        return self.path.stream

    def encode(self, group: Sequence[tuple[Window, Tensor]]) -> None:
        """Begin to encode windows' spectrograms [n_mels, 3000] into their sessions' slots, all at once."""
        self.path.encode([mel for _, mel in group], [_slot(window) for window, _ in group])

    def finish_encoding(self, *, wait: bool) -> bool:
        """Return whether the windows given to `encode` are encoded by now; `wait` for them."""
        return self.path.finish_encoding(wait=wait)

    def detect_language(self, windows: tuple[Window, ...]) -> list[Language]:
        """Return the languages of encoded windows."""
        return detect_languages(self.path, self.model, [_slot(window) for window in windows])

    def align(self, window: Window) -> tuple[Aligned, Tensor]:
        """Return when the tokens of an encoded window were spoken, and the matrix that goes with the reply."""
        if not isinstance(window.request, Align):
            raise RuntimeError("only alignments are scheduled as such")
        cache, heads = self.model.cache, self._alignment_heads
        return align(self.path.network, cache, self.path.audio, _slot(window), window.request, heads)

    def start(self, windows: tuple[Window, ...]) -> None:
        """Read the prompts of encoded windows and sample their rows' first tokens."""
        for group in self._policy.prompt_groups(windows):
            self._start([(window, window.plan) for window in group if window.plan is not None])

    def decode(self) -> list[Window]:
        """Sample one more token for every live row; return the windows that are known to be complete by now."""
        for group in self.path.step(list(self._decoding.values())):
            self._advance_beams(group)
        self.path.look(self._steps)
        self._steps += 1
        return self._complete()

    def results(self, windows: list[Window]) -> list[tuple[Window, Decoded]]:
        """Return what complete windows decoded to; their rows leave the batch. Waits for the device."""
        if not windows:
            return []
        sampled = self.model.state.fetch([row for window in windows for row in window.rows])
        found = []
        for window in windows:
            decoding = self._decoding.pop(window)
            best = best_sequence(decoding, sampled)
            if math.isnan(best.avg_logprob):
                self.model.cache.wipe(list(window.rows))
            found.append((window, self._decoded(decoding.plan, best)))
        return found

    def drop(self, window: Window) -> None:
        """Take the rows of a window out of the batch whose client disconnected or whose step failed."""
        if self._decoding.pop(window, None) is not None:
            with self.stream:  # before the window that has the rows next
                self.model.state.drop(window.rows)
                self.model.cache.wipe(list(window.rows))

    def release_unused(self) -> None:
        """Give the device's memory back that is held for later, if the device is a GPU."""
        torch.cuda.empty_cache()

    def release(self) -> None:
        """Give the model's memory back; the runner cannot be used afterwards."""
        cache = self.model.cache
        del self.path, self.model
        cache.release()

    def _start(self, group: list[tuple[Window, DecodePlan]]) -> None:
        rows = self._admit(group)
        state = self.model.state
        windows, plans = [window for window, _ in group], [plan for _, plan in group]
        prompts, starts = [list(plan.initial_tokens) for plan in plans], [plan.sot_index for plan in plans]
        leads = [window.rows[0] for window in windows]
        first, last = self.path.prompt(prompts, starts, [_slot(window) for window in windows], leads)
        silence = None
        if self.model.vocabulary.no_speech is not None:
            silence = first.float().softmax(-1)[:, self.model.vocabulary.no_speech]
        numbers = [row for window in windows for row in window.rows]
        if len(numbers) > len(windows):  # several rows continue one prompt
            source = state.upload([at for at, window in enumerate(windows) for _ in window.rows], torch.long)
            last, silence = last[source], silence if silence is None else silence[source]
        if silence is not None:
            state.floats[rows, FloatColumn.NO_SPEECH] = silence
        decodings = [self._decoding[window] for window in windows]
        self.path.choose(last, rows, decodings)
        self._advance_beams(GroupLogits(decodings, last, {row: place for place, row in enumerate(numbers)}))

    def _admit(self, group: list[tuple[Window, DecodePlan]]) -> Tensor:
        """Give the windows' rows their first state; return the rows as a tensor."""
        numbers, ints, floats, leads = [], [], [], []
        for window, plan in group:
            mask = self.model.state.mask_number(plan.suppressed, self._masks_in_use)
            if mask is None:
                raise EngineOutOfMemory(what="another set of suppressed tokens")
            self._decoding[window] = Decoding(window, plan, mask, self._steps, _beam_search(plan))
            for member, row in enumerate(window.rows):
                seed = seed_of(window.fingerprint, plan, member)
                numbers.append(row)
                ints.append(int_row(plan, slot=_slot(window), mask=mask, seed=seed))
                floats.append([0.0, plan.temperature, float("nan")])
                leads.append(window.rows[0])
        return self.model.state.admit(numbers, ints, floats, leads)

    def _masks_in_use(self) -> set[int]:
        return {decoding.mask for decoding in self._decoding.values()}

    def _advance_beams(self, computed: GroupLogits) -> None:
        """Choose the tokens of each window's beams together. Waits for the device if there are beams."""
        state, vocabulary = self.model.state, self.model.vocabulary
        for decoding in computed.group:
            if decoding.beam is None or decoding.beam.completed:
                continue
            numbers = decoding.window.rows
            rows = at = state.upload(numbers, torch.long)
            if computed.places is not None:
                at = state.upload([computed.places[row] for row in numbers], torch.long)
            masked = rules.apply_rules(computed.logits[at], state, rows, vocabulary)
            best = masked.log_softmax(-1).topk(len(numbers) + 1)
            tokens, sources = decoding.beam.advance(best.values.tolist(), best.indices.tolist())
            state.reorder(rows, state.upload(sources, torch.long))
            chosen = state.upload(tokens, torch.long)
            rules.push(chosen, torch.zeros(len(numbers), device=self.model.device), state, rows, vocabulary)
            if decoding.beam.completed:
                state.drop(numbers)

    def _complete(self) -> list[Window]:
        """Return the windows none of whose rows was active in the steps that can be seen by now."""
        complete: list[Window] = []
        for step, active in self.path.seen():
            for window, decoding in self._decoding.items():
                if active[window.rows[0]]:  # nearly all, at nearly every step
                    continue
                if step >= decoding.joined and not any(map(active.__getitem__, window.rows)):
                    complete.append(window)
        return list(dict.fromkeys(complete))

    def _decoded(self, plan: DecodePlan, best: BestSequence) -> Decoded:
        text = self.model.tokenizer.decode(best.tokens).strip()
        return Decoded(
            language=plan.language or "en",
            tokens=best.tokens,
            text=text,
            avg_logprob=best.avg_logprob,
            no_speech_prob=best.no_speech_prob,
            temperature=plan.temperature,
            compression_ratio=compression_ratio(text),
        )


def path_of(model: DeviceModel, policy: BatchPolicy, *, bit_exact_encoder: bool) -> DevicePath:
    """Return the fused path, or the plain one on a CPU, before Ampere (which Triton does not serve), without Triton."""
    found = capability(model.device)
    if found is None or found < (8, 0):
        return PlainPath(model, policy)
    from whisper_fleet.workers.engine.cuda.path import FusedPath  # needs Triton

    return FusedPath(model, policy, bit_exact_encoder=bit_exact_encoder)


def _beam_search(plan: DecodePlan) -> BeamSearch | None:
    if not plan.is_beam:
        return None
    return BeamSearch(
        beams=plan.rows,
        max_candidates=plan.max_candidates,
        max_sampled=plan.max_sampled,
        end_of_text=plan.end_of_text,
    )


def _slot(window: Window) -> int:
    if window.session.cache_slot is None:
        raise RuntimeError("a window without a slot was scheduled")
    return window.session.cache_slot
