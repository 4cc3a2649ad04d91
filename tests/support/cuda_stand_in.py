"""Stand-ins that let `FusedPath` run on a CPU: plain operations for kernels, nothing for streams and graphs."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from whisper_fleet.workers.engine import runner
from whisper_fleet.workers.engine.cache.cross_attention import FORMS, EncodedAudio
from whisper_fleet.workers.engine.cache.kv_cache import KvCache
from whisper_fleet.workers.engine.network.attention import PromptAttention, StepAttention
from whisper_fleet.workers.engine.network.encoder_parts import PlainEncoderParts
from whisper_fleet.workers.engine.network.network import PlainArithmetic
from whisper_fleet.workers.engine.sampling import rules
from whisper_fleet.workers.engine.sampling.active_rows import HostActiveRows
from whisper_fleet.workers.engine.sampling.row_state import IntColumn, RowState
from whisper_fleet.workers.engine.sampling.rules import Vocabulary

_CUDA = "whisper_fleet.workers.engine.cuda"


class Graphs:
    """Runs all work as it is, and remembers the keys."""

    keys: ClassVar[set[tuple[str, int, int]]] = set()

    def run(self, key: tuple[str, int, int], work: Callable[[], Tensor]) -> Tensor:
        Graphs.keys.add(key)
        return work()


class _Event:
    """Is there when it is looked for the second time."""

    def __init__(self) -> None:
        self._looks = 0

    def record(self) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        self._looks += 1
        return self._looks > 1


class _Stream:
    def __init__(self, priority: int = 0) -> None: ...

    def wait_stream(self, other: object) -> None: ...


class _LateRows(HostActiveRows):
    """Shows each step one step later, as a GPU does."""

    def seen(self) -> Iterator[tuple[int, list[int]]]:
        while len(self._seen) > 1:
            yield self._seen.popleft()


class _StepOfRows(StepAttention):
    """One token of rows 0..n, active or not."""

    def __init__(self, cache: KvCache, encoded: EncodedAudio, state: RowState, rows: int) -> None:
        super().__init__(cache, encoded, state, torch.arange(rows))


class _Prompts(PromptAttention):
    """Prompts of any length in plain operations."""

    def __init__(
        self, cache: KvCache, encoded: EncodedAudio, slots: Tensor, length: int, rows: Tensor | None, *, in_place: bool
    ) -> None:
        super().__init__(cache, encoded, slots, length, rows)


def _select(logits: Tensor, state: RowState, rows: Tensor, vocabulary: Vocabulary, *, draw: bool) -> None:
    """Choose for the rows that are active and not beams, as the kernel does."""
    is_chosen = (state.active[rows] > 0) & (state.ints[rows, IntColumn.BEAM] == 0)
    if at := is_chosen.nonzero()[:, 0].tolist():
        masked = rules.apply_rules(logits[at], state, rows[at], vocabulary)
        tokens, logprobs = rules.sample(masked, state, rows[at], draw=draw)
        rules.push(tokens, logprobs, state, rows[at], vocabulary)


def use_fused_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model of this process run on the fused path."""
    kernels: dict[str, dict[str, Any]] = {
        "audio": {"FUSED_FORMS": FORMS},
        "norm": {"FusedArithmetic": lambda _: PlainArithmetic()},
        "select": {"select": _select},
        "text": {"FusedPromptAttention": _Prompts, "FusedStepAttention": _StepOfRows},
        "graphs": {"Graphs": Graphs},
        "hopper.encoder_parts": {"FusedEncoderParts": lambda model: PlainEncoderParts(model.weights)},
    }
    for name, members in kernels.items():
        module = ModuleType(f"{_CUDA}.{name}")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, f"{_CUDA}.path", raising=False)
    path = importlib.import_module(f"{_CUDA}.path")
    monkeypatch.setitem(sys.modules, f"{_CUDA}.path", path)
    monkeypatch.setattr(path, "DeviceActiveRows", _LateRows)
    monkeypatch.setattr(runner, "path_of", path.FusedPath)
    for name, stand_in in (("Event", _Event), ("Stream", _Stream), ("current_stream", _Stream)):
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    Graphs.keys.clear()
