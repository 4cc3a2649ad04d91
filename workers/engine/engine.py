"""The engine: a thread with an inbox that owns the device, and the models on it."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict

import psutil
import torch
from torch import Tensor

from whisper_fleet.shared.errors import EngineError, EngineOutOfMemory, EngineRequestInvalid
from whisper_fleet.shared.memory import forms_of
from whisper_fleet.workers.engine.batch.window import Window
from whisper_fleet.workers.engine.device.capability import capability
from whisper_fleet.workers.engine.faults import is_shortage
from whisper_fleet.workers.engine.identity import identity
from whisper_fleet.workers.engine.loaded_model import LoadedModel
from whisper_fleet.workers.engine.model_pool import ModelPool
from whisper_fleet.workers.engine.options import Options
from whisper_fleet.workers.engine.requests import check_request, fingerprint_of
from whisper_fleet.workers.engine.stats import Meter
from whisper_fleet.workers.link import protocol
from whisper_fleet.workers.link.protocol import Align, Decode, DetectLanguage, Reply, Request

log = logging.getLogger(__name__)
Answer = tuple[Reply, Tensor | None]


class Engine:
    """Serves the requests of many sessions, from one running batch per model.

    `submit` and `forget` may be called from any thread.
    """

    def __init__(self, options: Options) -> None:
        self._device = torch.device(options.device, 0) if options.device == "cuda" else torch.device("cpu")
        self._cross_attention = options.cross_attention
        self._meter = Meter()
        self._models = ModelPool(options, self._device, self._meter)
        self._model_of: dict[int, LoadedModel] = {}
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, session: int, request: Request, tensor: Tensor | None) -> Future[Answer]:
        """Queue a request; the future will hold the reply and the tensor that goes with it."""
        future: Future[Answer] = Future()
        self._inbox.put(lambda: self._take(session, request, tensor, future))
        return future

    def forget(self, session: int) -> None:
        """End a session whose client disconnected: its requests are dropped before the next step."""
        self._inbox.put(lambda: self._forget(session))

    def close(self) -> None:
        """End the thread and give the device's memory back."""
        self._inbox.put(None)
        self._thread.join()

    def step(self) -> bool:
        """Do one step of every model that has something to do; return whether there was any."""
        stepped = [model.step() for model in self._models]
        return any(stepped)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._admit():
                    self.step()
                self._models.unload_all()
        except BaseException:
            log.critical("the device is lost, so the engine ends", exc_info=True)
            os._exit(1)

    def _admit(self) -> bool:
        """Take what arrived, waiting for it if there is nothing else to do; return False at the end."""
        is_busy = any(model.batch.waiting or model.batch.live for model in self._models)
        try:
            item = self._inbox.get(block=not is_busy, timeout=None if is_busy else 1.0)
            while item is not None:
                item()
                item = self._inbox.get_nowait()
        except queue.Empty:
            self._models.unload_idle()
            return True
        return False

    def _take(self, session: int, request: Request, tensor: Tensor | None, future: Future[Answer]) -> None:
        """Answer a request at once, or queue it for a window's reply."""
        try:
            match request:
                case protocol.Open():
                    future.set_result((self._open(session, request), None))
                case protocol.AskStats():
                    future.set_result((self._stats(), None))
                case protocol.Resize():
                    self._models.resize(request.slots)
                    log.info("%d slots", self._models.slots)
                    future.set_result((protocol.Done(), None))
                case _:
                    self._add(session, request, tensor, future)
        except EngineError as error:
            future.set_exception(error)
        except Exception as error:
            if is_shortage(error):
                future.set_exception(EngineOutOfMemory(what="this model"))
            else:
                log.exception("a request failed in an unforeseen way")
                future.set_exception(error)

    def _open(self, number: int, request: protocol.Open) -> protocol.Opened:
        if number in self._model_of:
            raise EngineRequestInvalid(reason="the session has opened a model already")
        precision = request.precision if self._device.type == "cuda" else "float32"
        model = self._models.get(request.model, precision)
        model.batch.open_session(number)
        self._model_of[number] = model
        heads = list(model.checkpoint.alignment_heads)
        return protocol.Opened(dims=asdict(model.checkpoint.dims), alignment_heads=heads, precision=precision)

    def _add(self, number: int, request: Request, tensor: Tensor | None, future: Future[Answer]) -> None:
        """Queue a window's request, or ask for the window again if its encoding is lost."""
        model = self._model_of.get(number)
        if model is None or not isinstance(request, Decode | DetectLanguage | Align):
            raise EngineRequestInvalid(reason="the session has opened no model")
        session = model.batch.sessions[number]
        if session.window is not None:
            raise EngineRequestInvalid(reason="the session waits for another window already")
        if tensor is None and not session.is_encoded:
            future.set_result((protocol.WindowGone(), None))
            return
        plan = check_request(request, tensor, model.checkpoint.dims, self._models.policy.max_rows)
        seed = 0 if tensor is None else fingerprint_of(tensor)
        model.admit(Window(session=session, request=request, future=future, audio=tensor, fingerprint=seed, plan=plan))

    def _forget(self, number: int) -> None:
        model = self._model_of.pop(number, None)
        if model is not None:
            model.forget(number)

    def _stats(self) -> protocol.EngineStats:
        shares, (windows, realtime, tokens) = self._meter.shares(), self._meter.rates()
        return protocol.EngineStats(
            pid=os.getpid(),
            device=self._device.type,
            slots=self._models.slots,
            rows_live=sum(len(window.rows) for model in self._models for window in model.batch.live),
            rows_waiting=sum(len(model.batch.waiting) for model in self._models),
            windows_per_s=windows,
            times_realtime=realtime,
            tokens_per_s=tokens,
            share_encode=shares["encode"],
            share_prefill=shares["prefill"],
            share_decode=shares["decode"],
            share_idle=shares["idle"],
            memory_bytes=self._memory_bytes(),
            models=tuple(model.name for model in self._models),
            dims={model.checkpoint.name: model.checkpoint.dims for model in self._models},
            forms=forms_of(self._cross_attention, capability(self._device)),
            **identity(self._device),
        )

    def _memory_bytes(self) -> dict[str, int]:
        parts = {"cache": sum(model.runner.model.cache.committed for model in self._models)}
        if self._device.type == "cuda":
            return {**parts, "torch": torch.cuda.memory_reserved(self._device)}
        return {**parts, "process": psutil.Process().memory_info().rss}
