"""From what a client asked to segments that wait for GPUs: validate, decode once, cut, enter."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

from scheduler.placement import demand_of, never
from scheduler.services import Services
from scheduler.writers import Target, target_of
from shared.audio import Spool, plan_audio, real_path_below
from shared.audio_source import check_url
from shared.errors import JobNotFound, UrlNotAllowed
from shared.ledger_records import lane_of
from shared.requests import Known, parse_request
from shared.settings import Settings
from shared.wire import JobProgress, Need, TranscribeRequest

#: Seconds that a planner's claim on a job lasts, and after how many it is renewed.
_CLAIM = 30.0
_RENEW = 10.0

#: What a client may call a language, in lower case -> whisper's code.
LANGUAGE_CODES = {**{code: code for code in LANGUAGES}, **TO_LANGUAGE_CODE}


class Planner:
    """Plans jobs for one process of intake."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._ledger = services.ledger

    def take_in(self, job: str, asked: Mapping[str, Any]) -> bool:
        """Plan a job; False when it is not ours to plan: cancelled, planned already, or in other hands.

        Raises what is wrong with the request or its file; then the job has ended.
        """
        try:
            request = parse_request(asked, known_of(self._settings))
            self._ledger.accept(job, request, time.time())
            return self._plan(job, request)
        except Exception as error:
            with contextlib.suppress(JobNotFound):
                self._ledger.fail(job, type(error).__name__, str(error), time.time())
            raise

    def _plan(self, job: str, request: TranscribeRequest) -> bool:
        if not self._claim(job):
            return False
        self._services.show(job, JobProgress(stage="planning"))
        self._check(request)
        with self._claimed(job):
            plan = plan_audio(request.file_path, job, request.segment_duration, self._settings)
        planned = self._ledger.plan(job, plan, time.time(), request)
        if not planned:
            Spool(self._settings).drop(job)
            return False
        self._services.show(job, self._ledger.job(job).progress(time.time()))
        return True

    def _check(self, request: TranscribeRequest) -> None:
        """What would only turn out after the work was done."""
        if request.callback_url:
            check_callback(request.callback_url, self._settings)
        if target := target_of(request):
            check_target(target, self._settings)
        self._check_fit(lane_of(request).need)

    def _check_fit(self, need: Need) -> None:
        """A fleet without any GPU up may yet grow: only one that is up can say that it never fits."""
        demand = demand_of(need, self._settings.models)
        up = self._services.fleet.gpus(time.time(), self._settings.heartbeat_timeout)
        margin = self._settings.memory_safety_margin
        if not up or never(demand, up, margin) is None:
            return
        error = never(demand, self._services.fleet.all(), margin)
        if error is not None:
            raise error

    def _claim(self, job: str) -> bool:
        now = time.time()
        return self._ledger.begin(job, self._services.name, now + _CLAIM, now)

    @contextlib.contextmanager
    def _claimed(self, job: str) -> Iterator[None]:
        """A long file takes longer than a claim lasts: renew it, so that nobody believes us dead."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(_RENEW):
                self._claim(job)

        renewing = threading.Thread(target=renew, name=f"claim-{job}", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()


def known_of(settings: Settings) -> Known:
    """What this fleet takes a request to mean."""
    return Known(
        default_model=settings.default_model,
        default_precision=settings.default_precision,
        segment_duration=settings.segment_duration,
        languages=LANGUAGE_CODES,
    )


def check_target(target: Target, settings: Settings) -> Path:
    """The directory for the output files, made and tried; PathNotAllowed or OutputNotWritable."""
    real_path_below(str(target.directory), settings.media_roots, option="output_path")
    target.prepare()
    return target.directory


def check_callback(url: str, settings: Settings) -> None:
    """UrlNotAllowed unless a prefix covers it: a fleet must not be a door into its network."""
    if not settings.callback_prefixes:
        raise UrlNotAllowed(url=url)
    check_url(url, settings.model_copy(update={"url_prefixes": settings.callback_prefixes}))
