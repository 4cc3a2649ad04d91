"""The models on the device: loaded when they are first asked for, unloaded when idle or when another needs room."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator

import torch

from whisper_fleet.shared.models import Precision
from whisper_fleet.workers.engine.batch.policy import policy_of
from whisper_fleet.workers.engine.faults import is_shortage
from whisper_fleet.workers.engine.loaded_model import LoadedModel
from whisper_fleet.workers.engine.model.checkpoint import Checkpoint, open_checkpoint
from whisper_fleet.workers.engine.options import Options
from whisper_fleet.workers.engine.runner import Runner
from whisper_fleet.workers.engine.stats import Meter

log = logging.getLogger(__name__)


class ModelPool:
    """The loaded models; each has a batch of its own, and all share the device's memory."""

    def __init__(self, options: Options, device: torch.device, meter: Meter) -> None:
        self._options, self._device, self._meter = options, device, meter
        policy = options.policy or policy_of(device.type)
        self.policy = policy.reproducible() if options.reproducible else policy
        self.slots = options.slots
        self._models: dict[str, LoadedModel] = {}

    def __iter__(self) -> Iterator[LoadedModel]:
        """Iterate over the models that are loaded now; they may be unloaded meanwhile."""
        return iter(list(self._models.values()))

    def get(self, model: str, precision: Precision) -> LoadedModel:
        """Return a model, loaded if need be; ModelUnavailable: there is no such model that can be loaded."""
        name = f"{model}/{precision}"
        if name not in self._models:
            self._models[name] = self._load(
                name, open_checkpoint(model, self._options.model_dir, self._options.model_roots), precision
            )
        self._models[name].last_used = time.monotonic()
        return self._models[name]

    def resize(self, slots: int) -> None:
        """Give every model `slots` slots, or as many as there is memory for. A model without slots keeps one."""
        self.slots = min(slots, self.policy.max_rows)
        for model in self:
            if model.name in self._models:  # it may have made room for the one before
                model.capacity.resize(max(self.slots, 1))

    def unload_idle(self) -> None:
        """Unload the models that no session has used for the idle timeout."""
        now = time.monotonic()
        for model in self._unused():
            if now - model.last_used > self._options.idle_timeout:
                self._unload(model)

    def unload_all(self) -> None:
        """Give the device's memory back."""
        for model in self:
            self._unload(model)

    def _load(self, name: str, checkpoint: Checkpoint, precision: Precision) -> LoadedModel:
        started = time.monotonic()
        runner = self._runner(checkpoint, getattr(torch, precision))
        checkpoint.weights.clear()
        make_room = functools.partial(self._make_room, name)
        model = LoadedModel.create(name, checkpoint, runner, self.policy, self._meter, make_room=make_room)
        model.capacity.resize(max(self.slots, 1))
        took = time.monotonic() - started
        log.info("loaded %s with %s cross-attention in %.2f s", name, runner.model.cache.form, took)
        return model

    def _runner(self, checkpoint: Checkpoint, dtype: torch.dtype) -> Runner:
        """Load a model's weights, unloading the least recently used models while memory is short."""
        options = self._options
        while True:
            try:
                return Runner(
                    checkpoint, dtype, self._device, self.policy, cross_attention=options.cross_attention,
                    bit_exact_encoder=options.bit_exact_encoder,
                )  # fmt: skip
            except Exception as error:
                if not is_shortage(error) or not self._unused():
                    raise
            self._make_room()  # not in the handler: the error's frames hold half a model

    def _make_room(self, besides: str | None = None) -> bool:
        """Unload the model without sessions that was used longest ago; False: there is none."""
        unused = [model for model in self._unused() if model.name != besides]
        if unused:
            self._unload(min(unused, key=lambda model: model.last_used))
        return bool(unused)

    def _unused(self) -> list[LoadedModel]:
        return [model for model in self._models.values() if not model.batch.sessions]

    def _unload(self, model: LoadedModel) -> None:
        del self._models[model.name]
        model.runner.release()
        if self._device.type == "cuda":
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.empty_cache()
        log.info("unloaded %s", model.name)
