"""An engine that computes nothing and answers every window after a fixed time, so that `node` measures the rest.

python -m benchmarks.support.stand_in_engine SOCKET SECONDS
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from torch import Tensor

from whisper_fleet.shared.models import MODELS
from whisper_fleet.workers.link import protocol
from whisper_fleet.workers.link.protocol import Request
from whisper_fleet.workers.link.server import ReplyAndTensor, Server

#: What a window comes to: whisper takes it and goes on to the next.
_TEXT = protocol.Decoded(
    language="en", tokens=list(range(100)), text="some words " * 40, avg_logprob=-0.2, no_speech_prob=0.01,
    temperature=0.0, compression_ratio=1.2,
)  # fmt: skip


class StandIn:
    """The part of an engine that a server needs."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._live: set[Future[ReplyAndTensor]] = set()

    def submit(self, session: int, request: Request, tensor: Tensor | None) -> Future[ReplyAndTensor]:
        future: Future[ReplyAndTensor] = Future()
        match request:
            case protocol.Open():
                dims = {name: int(value) for name, value in vars(MODELS["base"]).items()}
                future.set_result((protocol.Opened(dims=dims, alignment_heads=[], precision="float32"), None))
            case protocol.AskStats():
                future.set_result((self._stats(), None))
            case protocol.Resize():
                future.set_result((protocol.Done(), None))
            case _:
                self._live.add(future)
                timer = threading.Timer(self._seconds, self._answer, (future,))
                timer.daemon = True
                timer.start()
        return future

    def forget(self, session: int) -> None:
        """Do nothing: the stand-in keeps no sessions."""

    def _answer(self, future: Future[ReplyAndTensor]) -> None:
        self._live.discard(future)
        future.set_result((_TEXT, None))

    def _stats(self) -> protocol.EngineStats:
        return protocol.EngineStats(
            pid=os.getpid(), device="cpu", slots=1, rows_live=len(self._live), rows_waiting=0, windows_per_s=0.0,
            times_realtime=0.0, tokens_per_s=0.0, share_encode=0.0, share_prefill=0.0, share_decode=0.0,
            share_idle=0.0, memory_bytes={}, models=("base/float32",), forms={},
        )  # fmt: skip


if __name__ == "__main__":
    Server(StandIn(float(sys.argv[2])), Path(sys.argv[1]), sys.stdin.fileno()).serve()
