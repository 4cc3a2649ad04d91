"""Which models clients may name: aliases, checkpoints, and what is loaded on a GPU."""

from __future__ import annotations

from collections.abc import Iterable

from whisper_fleet.errors import UnknownModel
from whisper_fleet.shared.models import MODELS, checkpoint_path
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import GpuStatus

#: OpenAI's name for its hosted Whisper, which every client of that API sends.
WHISPER_1 = "whisper-1"


def model_of(name: str, settings: Settings) -> str:
    """Return the fleet's model for the name that a client sent; raises UnknownModel. Pure.

    A client of the HTTP server names no paths: an alias of the settings can lead to one.
    """
    if name in settings.http_model_aliases:
        return settings.http_model_aliases[name]
    if name in (WHISPER_1, settings.default_model):
        return settings.default_model
    if name not in MODELS:
        known = dict.fromkeys([WHISPER_1, *settings.http_model_aliases, *MODELS])
        raise UnknownModel(name=name[:100], known=", ".join(known))
    return name


def names_of_models(settings: Settings, gpus: Iterable[GpuStatus]) -> list[str]:
    """Return the names that clients may use for models that are present: on this server's disk, or on a GPU."""
    present = [name for name in MODELS if checkpoint_path(name, settings.models).exists()]
    loaded = [model.partition("/")[0] for gpu in gpus for model in gpu.models if model.partition("/")[0] in MODELS]
    default = [settings.default_model] if settings.default_model in MODELS else []  # not the path of a checkpoint
    return list(dict.fromkeys([WHISPER_1, *settings.http_model_aliases, *default, *present, *loaded]))
