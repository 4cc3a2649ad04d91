"""What the host does for the fused path, without its kernels: it decodes what the plain path decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.cuda_stand_in import Graphs, use_fused_path
from tests.support.in_process_engine import InProcessEngine, decoded
from whisper_fleet.workers.engine.batch.policy import GPU_POLICY

pytestmark = pytest.mark.integration

OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7, "best_of": 3},
    {"beam_size": 3},
    {"language": None},
    {"prompt": "a prompt of many words " * 4},
]
TOKENS = 12


def texts(engine: InProcessEngine) -> list[tuple[str, list[int]]]:
    """Decode four windows at once with each of the options."""
    results = []
    for options in OPTIONS:
        sessions = [engine.open() for _ in range(4)]
        replies = [engine.decode(session, seed, sample_len=TOKENS, **options) for seed, session in enumerate(sessions)]
        results += [(reply.language, reply.tokens) for reply in map(decoded, replies)]
        for session in sessions:
            engine.engine.forget(session)
    return results


@pytest.mark.parametrize("reproducible", [False, True])
def test_the_fused_path_decodes_what_the_plain_path_decodes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, reproducible: bool
) -> None:
    with InProcessEngine(tiny_model, slots=4) as engine:
        plain = texts(engine)
    assert all(len(tokens) == TOKENS for _, tokens in plain)
    use_fused_path(monkeypatch)
    with InProcessEngine(tiny_model, slots=4, policy=GPU_POLICY, reproducible=reproducible) as engine:
        assert texts(engine) == plain
    assert {kind for kind, _, _ in Graphs.keys} == {"encoder", "prompt", "decode"}
    sizes = {size for kind, size, _ in Graphs.keys if kind == "decode"}
    assert sizes == {512} if reproducible else max(sizes) <= 16
