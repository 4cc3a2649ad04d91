"""From what a client asked to segments that wait for GPUs: validate, decode once, cut, enter."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whisper_fleet.scheduler.dispatch.demand import demand_of, why_unplaceable
from whisper_fleet.scheduler.intake.callbacks import check_callback
from whisper_fleet.scheduler.intake.claims import claimed
from whisper_fleet.scheduler.intake.writers import Target, target_of
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.segments import Spool, plan_audio, real_path_below
from whisper_fleet.shared.connect import UNREACHABLE
from whisper_fleet.shared.errors import BadOption, JobNotFound
from whisper_fleet.shared.languages import LANGUAGES
from whisper_fleet.shared.ledger.records import lane_of
from whisper_fleet.shared.models import resolve
from whisper_fleet.shared.requests import FleetDefaults, parse_request
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobProgress, JobState, Need, TranscribeRequest


class Planner:
    """Plans jobs for one process of intake."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._ledger = services.ledger

    def take_in(self, job: str, asked: Mapping[str, Any]) -> bool:
        """Plan a job; False when it is not ours to plan: cancelled, planned already, or in other hands.

        Raises what is wrong with the request or its file; then the job has ended. What is raised while Redis is
        away ends nothing: the call may be repeated.
        """
        try:
            request = parse_request(asked, FleetDefaults.of(self._settings))
            self._ledger.accept(job, request, time.time())
            return self._plan(job, request)
        except UNREACHABLE:  # that is no fault of the job
            raise
        except Exception as error:
            if self._went_on(job, error):
                return False
            raise

    def _went_on(self, job: str, error: Exception) -> bool:
        """Fail the job, unless it went on without us: it was cancelled, or another planned it."""
        try:
            is_ours = self._ledger.job(job).state is JobState.ACCEPTED
            return not (is_ours and self._ledger.fail(job, type(error).__name__, str(error), time.time()))
        except JobNotFound:
            return False

    def _plan(self, job: str, request: TranscribeRequest) -> bool:
        with claimed(self._services, job, JobState.ACCEPTED) as is_ours:
            return is_ours and self._entered(job, request)

    def _entered(self, job: str, request: TranscribeRequest) -> bool:
        self._services.show(job, JobProgress(stage="planning"))
        self._check(request)
        plan = plan_audio(request.file_path, job, request.segment_duration, self._settings)
        if not self._ledger.plan(job, plan, time.time(), request):
            if self._ledger.job(job).state.is_final:  # else another was faster, and its plan names the same audio
                Spool(self._settings).drop(job)
            return False
        # The dispatcher tells only those who are in the lane when a reason is new.
        why = self._ledger.why_waits(lane_of(request).lane)
        progress = self._ledger.job(job).progress(time.time())
        self._services.show(job, progress.model_copy(update={"message": why}))
        return True

    def _check(self, request: TranscribeRequest) -> None:
        """What would only turn out after the work was done."""
        if request.callback_url:
            check_callback(request.callback_url, self._settings)
        if target := target_of(request):
            check_target(target, self._settings)
        if request.language:
            check_language(request.language, request.model_name, self._settings)
        self._check_fit(lane_of(request).need)

    def _check_fit(self, need: Need) -> None:
        """A fleet without any GPU up may yet grow: only one that is up can say that it never fits.

        A GPU that is silent, or left a while ago, may be on its way back, as in a restart host by host.
        """
        demand, now = demand_of(need, self._settings.models), time.time()
        up = self._services.fleet.gpus(now, self._settings.heartbeat_timeout)
        margin = self._settings.memory_safety_margin
        if not up or why_unplaceable(demand, up, margin) is None:
            return
        error = why_unplaceable(demand, self._services.fleet.lately(now), margin)
        if error is not None:
            raise error


def check_language(language: str, model_name: str, settings: Settings) -> None:
    """BadOption for a language that came to Whisper after the model: there it ends as a Python error.

    A model that knows English alone takes any language for English, as it does in Whisper.
    """
    dims = resolve(model_name, settings.models)
    if dims.is_multilingual and language not in list(LANGUAGES)[: dims.num_languages]:
        reason = f"the model {model_name} does not know {language!r}, but large-v3 and turbo do"
        raise BadOption(name="language", reason=reason)


def check_target(target: Target, settings: Settings) -> Path:
    """The directory for the output files, made and tried; PathNotAllowed or OutputNotWritable."""
    real_path_below(str(target.directory), settings.media_roots, option="output_path")
    target.prepare()
    return target.directory
