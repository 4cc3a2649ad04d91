"""The engine: a thread with an inbox that owns the device, and the models on it."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from whisper_fleet.shared.errors import EngineError, EngineOutOfMemory, EngineRequestInvalid
from whisper_fleet.shared.memory import forms_of
from whisper_fleet.shared.models import CrossAttention
from whisper_fleet.workers.engine.alignment import tokens_of
from whisper_fleet.workers.engine.batch.batcher import Batcher
from whisper_fleet.workers.engine.batch.decode_plan import plan_decode
from whisper_fleet.workers.engine.batch.shortage import is_shortage
from whisper_fleet.workers.engine.batch.window import Session, Window
from whisper_fleet.workers.engine.cache.kv_cache import MOST_ROWS
from whisper_fleet.workers.engine.cuda.path import capability
from whisper_fleet.workers.engine.identity import identity
from whisper_fleet.workers.engine.loaded_model import ENCODE_BATCH, ENCODE_PATIENCE, LoadedModel
from whisper_fleet.workers.engine.model.checkpoint import open_checkpoint
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.engine.stats import Meter
from whisper_fleet.workers.link import protocol
from whisper_fleet.workers.link.decode_options import options_of
from whisper_fleet.workers.link.protocol import Decode, DetectLanguage, Reply, Request

log = logging.getLogger(__name__)
Answer = tuple[Reply, Tensor | None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an engine is set up."""

    model_dir: Path
    device: str  # "cuda" or "cpu"
    slots: int = 1
    idle_timeout: float = 900.0  # seconds until a model without sessions is unloaded
    reproducible: bool = False  # the same audio gives the same bytes whatever else is running
    cross_attention: CrossAttention = "auto"


class Engine:
    """Serves requests of many sessions from one running batch a model; `submit` and `forget` from any thread."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._device = torch.device(options.device, 0) if options.device == "cuda" else torch.device("cpu")
        self._slots = options.slots
        self._models: dict[str, LoadedModel] = {}
        self._model_of: dict[int, LoadedModel] = {}
        self._meter = Meter()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, session: int, request: Request, tensor: Tensor | None) -> Future[Answer]:
        """Ask for something; the future holds the reply and the tensor that goes with it."""
        future: Future[Answer] = Future()
        self._inbox.put(lambda: self._take(session, request, tensor, future))
        return future

    def forget(self, session: int) -> None:
        """A client is gone: whatever it asked for is dropped at the next step."""
        self._inbox.put(lambda: self._forget(session))

    def close(self) -> None:
        """End the thread and give the device's memory back."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._admit():
                    self.step()
                for name in list(self._models):
                    self._unload(name)
        except BaseException:
            log.critical("the device is lost, so the engine ends", exc_info=True)
            os._exit(1)

    def step(self) -> bool:
        """One step of every model that has something to do; whether there was any."""
        stepped = [loaded.step() for loaded in list(self._models.values())]
        return any(stepped)

    def _admit(self) -> bool:
        """Take what arrived, waiting for it when there is nothing else to do; False: time to end."""
        busy = any(loaded.batch.waiting or loaded.batch.live for loaded in self._models.values())
        try:
            item = self._inbox.get(block=not busy, timeout=None if busy else 1.0)
            while item is not None:
                item()
                item = self._inbox.get_nowait()
        except queue.Empty:
            self._unload_idle()
            return True
        return False

    def _take(self, session: int, request: Request, tensor: Tensor | None, future: Future[Answer]) -> None:
        try:
            match request:
                case protocol.Open():
                    future.set_result((self._open(session, request), None))
                case protocol.AskStats():
                    future.set_result((self._stats(), None))
                case protocol.Resize():
                    self._resize(request.slots)
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
        name = f"{request.model}/{precision}"
        loaded = self._models.get(name) or self._load(name, request.model, getattr(torch, precision))
        loaded.last_used = time.monotonic()
        loaded.sessions[number] = Session(number=number)
        self._model_of[number] = loaded
        heads = list(loaded.checkpoint.alignment_heads)
        dims = {key: int(value) for key, value in vars(loaded.checkpoint.dims).items()}
        return protocol.Opened(dims=dims, alignment_heads=heads, precision=precision)

    def _load(self, name: str, model: str, dtype: torch.dtype) -> LoadedModel:
        started = time.monotonic()
        checkpoint = open_checkpoint(model, self._options.model_dir)
        runner = self._with_room(
            lambda: Runner(
                checkpoint,
                dtype,
                self._device,
                reproducible=self._options.reproducible,
                cross_attention=self._options.cross_attention,
            )
        )
        kind = self._device.type
        batch = Batcher(slots=1, encode_batch=ENCODE_BATCH[kind], encode_patience=ENCODE_PATIENCE[kind])
        checkpoint.weights.clear()
        loaded = LoadedModel(
            name, checkpoint, runner, batch, self._meter, make_room=lambda: self._unload_least_recent(name)
        )
        loaded.resize(max(self._slots, 1))
        self._models[name] = loaded
        took = time.monotonic() - started
        log.info("loaded %s with %s cross-attention in %.2f s", name, runner.cache.form, took)
        return loaded

    def _with_room(self, make: Callable[[], Runner]) -> Runner:
        """Make it, unloading the least recently used models for as long as memory is short."""
        while True:
            try:
                return make()
            except Exception as error:
                if not is_shortage(error) or not self._unused():
                    raise
            self._unload_least_recent()  # not in the handler: the error's frames hold half a model

    def _add(self, number: int, request: Request, tensor: Tensor | None, future: Future[Answer]) -> None:
        loaded = self._model_of.get(number)
        if loaded is None or not isinstance(request, Decode | DetectLanguage | protocol.Align):
            raise EngineRequestInvalid(reason="the session has opened no model")
        session, dims = loaded.sessions[number], loaded.checkpoint.dims
        if session.window is not None:
            raise EngineRequestInvalid(reason="the session waits for another window already")
        if tensor is None and not session.encoded:
            future.set_result((protocol.WindowGone(), None))
            return
        if tensor is not None and tuple(tensor.shape) != (dims.n_mels, 2 * dims.n_audio_ctx):
            raise EngineRequestInvalid(reason=f"this model takes no mel of shape {tuple(tensor.shape)}")
        if isinstance(request, DetectLanguage) and not loaded.runner.can_detect_language:
            raise EngineRequestInvalid(reason="this model has no language tokens")
        plan = plan_decode(options_of(request), dims) if isinstance(request, Decode) else None
        if plan is not None and not 1 <= plan.rows <= MOST_ROWS:
            raise EngineRequestInvalid(reason=f"{plan.rows} beams or candidates are not 1 to {MOST_ROWS}")
        if isinstance(request, protocol.Align):
            tokens_of(request, dims)
        if tensor is not None:
            session.encoded, session.fingerprint = False, _fingerprint(tensor)
        loaded.add(Window(session=session, request=request, future=future, mel=tensor, plan=plan))

    def _forget(self, number: int) -> None:
        loaded = self._model_of.pop(number, None)
        if loaded is not None and number in loaded.sessions:
            loaded.forget(loaded.sessions[number])

    def _resize(self, slots: int) -> None:
        self._slots = min(slots, MOST_ROWS)
        for name in list(self._models):
            if name in self._models:  # it may have made room for the one before
                self._models[name].resize(max(self._slots, 1))
        log.info("%d slots", self._slots)

    def _unload_idle(self) -> None:
        now = time.monotonic()
        for loaded in self._unused():
            if now - loaded.last_used > self._options.idle_timeout:
                self._unload(loaded.name)

    def _unload_least_recent(self, besides: str | None = None) -> bool:
        """Unload the model without sessions that was used longest ago; False when there is none."""
        unused = [loaded for loaded in self._unused() if loaded.name != besides]
        if unused:
            self._unload(min(unused, key=lambda loaded: loaded.last_used).name)
        return bool(unused)

    def _unused(self) -> list[LoadedModel]:
        return [loaded for loaded in self._models.values() if not loaded.sessions]

    def _unload(self, name: str) -> None:
        self._release(self._models.pop(name))
        log.info("unloaded %s", name)

    def _release(self, loaded: LoadedModel) -> None:
        loaded.runner.release()
        if self._device.type == "cuda":
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()

    def _stats(self) -> protocol.EngineStats:
        shares, (windows, realtime, tokens) = self._meter.shares(), self._meter.rates()
        models = self._models.values()
        return protocol.EngineStats(
            pid=os.getpid(),
            device=self._device.type,
            slots=self._slots,
            rows_live=sum(len(window.rows) for loaded in models for window in loaded.batch.live),
            rows_waiting=sum(len(loaded.batch.waiting) for loaded in models),
            windows_per_s=windows,
            times_realtime=realtime,
            tokens_per_s=tokens,
            share_encode=shares["encode"],
            share_prefill=shares["prefill"],
            share_decode=shares["decode"],
            share_idle=shares["idle"],
            memory_bytes=self._memory(),
            models=tuple(self._models),
            forms=forms_of(self._options.cross_attention, capability(self._device)),
            **identity(self._device),
        )

    def _memory(self) -> dict[str, int]:
        parts = {"cache": sum(loaded.runner.cache.committed for loaded in self._models.values())}
        if self._device.type == "cuda":
            return {**parts, "torch": torch.cuda.memory_reserved(self._device)}
        return {**parts, "process": psutil.Process().memory_info().rss}


def _fingerprint(mel: Tensor) -> int:
    """A few hundred of a window's values as one number: it seeds the window's random streams."""
    return hash(tuple(mel.flatten()[::997].tolist()))
