"""From a client's keyword arguments to segments that wait for GPUs: parse, admit, decode."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from whisper_fleet.scheduler.intake.admission import admit
from whisper_fleet.scheduler.intake.claims import claimed
from whisper_fleet.scheduler.intake.decoding.decoder import Decoder, Ending
from whisper_fleet.scheduler.intake.decoding.parking import take_up
from whisper_fleet.scheduler.intake.outputs import output_place
from whisper_fleet.scheduler.intake.places.places import Places
from whisper_fleet.scheduler.intake.receipt import NOTHING_ELSE, Receipt
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared import tracing
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.connect import Outage, is_outage
from whisper_fleet.shared.display.text import file_name
from whisper_fleet.shared.errors import JobExists, JobNotFound, RequestError, TooManyJobs
from whisper_fleet.shared.ledger.planning.open_plans import OpenPlans
from whisper_fleet.shared.ledger.records import JobRecord, lane_of
from whisper_fleet.shared.ledger.tenants import waiting_jobs
from whisper_fleet.shared.request.parsing import FleetDefaults, as_keywords, parse_request
from whisper_fleet.shared.wire import JobProgress, JobState, TranscribeRequest

_log = logging.getLogger(__name__)
_NEXT = Outage("taking up jobs that were put off", _log)

#: What a client sees of a deferred job.
_DEFERRED = "intake reads as many other files of this tenant as it reads at once"


class Planner:
    """Plans jobs for one process of intake."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._ledger = services.ledger
        self._places = Places(services)

    def take_in(self, job: str, keywords: Mapping[str, Any], receipt: Receipt = NOTHING_ELSE) -> bool:
        """Plan a job; False if it is not ours to plan: cancelled, planned already, or claimed by another process.

        A file that should not be decoded to its end now leaves a plan that is open, and a job that is parked. One that
        should not be read at all now leaves a job that is deferred; then, too, the result is False.

        Raises the error of the request or its file, after which the job has ended. JobExists ends nothing, nor does an
        error of an unreachable Redis: then the call may be repeated.
        """
        try:
            request = self.enter(job, keywords, receipt)
            return self._plan(job, request)
        except JobExists:
            raise
        except Exception as error:
            if is_outage(error):  # not an error of the job
                raise
            self._take_up_others()
            if self._went_on(job, error):
                return False
            raise

    def enter(self, job: str, keywords: Mapping[str, Any], receipt: Receipt) -> TranscribeRequest:
        """Enter a job in the ledger and return its request; raises its RequestError, or JobExists."""
        request, trace = self._parse(keywords, receipt), tracing.current_header() or receipt.trace
        now, continuation = self._ledger.now(), receipt.continuation
        carried = {"not_before": receipt.not_before, "expires": receipt.expires}
        if not self._ledger.accept(job, request, now, continuation=continuation, trace=trace, **carried):
            self.check_same(self._ledger.job(job), keywords, receipt)
        return request

    def check_same(self, record: JobRecord, keywords: Mapping[str, Any], receipt: Receipt) -> None:
        """Raise JobExists if the message of a known job asks for anything else than the job's request."""
        if keywords == as_keywords(record.request):  # sent by the fleet itself
            return
        with contextlib.suppress(RequestError):
            if self._parse(keywords, receipt) == record.request:
                return
        raise JobExists(job=record.job)

    def _parse(self, keywords: Mapping[str, Any], receipt: Receipt) -> TranscribeRequest:
        if receipt.priority is not None and keywords.get("priority") is None:
            keywords = {**keywords, "priority": receipt.priority}
        return parse_request(keywords, FleetDefaults.of(self._settings))

    def _went_on(self, job: str, error: Exception) -> bool:
        """Fail the job, unless it went on without us: it was cancelled, or another process planned it."""
        try:
            record = self._ledger.job(job)
            is_ours = record.state is JobState.ACCEPTED or record.is_open
            return not (is_ours and self._ledger.fail(job, type(error).__name__, str(error), self._ledger.now()))
        except JobNotFound:
            return False

    def _plan(self, job: str, request: TranscribeRequest) -> bool:
        """Decode a job's file as far as it should be now; False if the job is not ours, or it is not read at all."""
        with claimed(self._services, job, JobState.ACCEPTED, self._places.renew) as is_ours:
            if not is_ours:
                return False
            ending = self._read(job, request)
        if ending is Ending.STOPPED:  # only now: while the claim is renewed, it cannot be given up
            OpenPlans(self._services.redis, self._services.name).park(job)
        if ending is Ending.NOT_BEGUN:
            if self._places.defer(job, request.tenant, request.priority):
                self._services.show(job, JobProgress(stage="queued", message=_DEFERRED))
            return False
        if ending is not Ending.LOST:
            self._show_waiting(job, request)
        elif self._ledger.job(job).state.is_final:  # else another process has it, and its plan names the same audio
            Spool(self._settings).drop(job)
        self._take_up_others()
        return ending is not Ending.LOST

    def _read(self, job: str, request: TranscribeRequest) -> Ending:
        """Read a job's file if its tenant may have one more file read."""
        if not self._places.take_soon(job, request.tenant):
            return Ending.STOPPED if self._ledger.job(job).is_open else Ending.NOT_BEGUN
        try:
            with tracing.span("decode", job=job):
                ending = self._decoder(job, request).run()
        except Exception:  # and not SystemExit: a process that ends must not wait for Redis, and its place runs out
            self._places.give_back()
            raise
        self._places.give_back()
        return ending

    def _take_up_others(self) -> None:
        """Have jobs read that were put off; the thread of the node does what fails here."""
        with _NEXT.ignored():
            take_up(self._services, self._places)

    def _decoder(self, job: str, request: TranscribeRequest) -> Decoder:
        """Return what decodes a job's file, from the beginning or from where an earlier process stopped."""
        record = self._ledger.job(job)
        if record.is_open:
            return Decoder(self._services, job, record.request, None, self._ledger.plans(job))
        self._services.show(job, JobProgress(stage="planning"))
        dims = admit(request, self._settings, self._services.fleet)
        self._check_share(request.tenant)
        if place := output_place(request, self._settings):
            place.prepare()  # now, because it can fail for reasons that no check finds
        return Decoder(self._services, job, request, dims, on_open=partial(self._show_waiting, job, request))

    def _check_share(self, tenant: str) -> None:
        waiting = waiting_jobs(self._services.redis, tenant)
        if waiting >= self._settings.max_waiting_jobs:
            raise TooManyJobs(tenant=tenant, waiting=waiting)

    def _show_waiting(self, job: str, request: TranscribeRequest) -> None:
        """Show why the job's lane waits: the dispatcher shows a new reason only to jobs that are in the lane then."""
        why = self._ledger.why_waits(lane_of(request).lane)
        record = self._ledger.job(job)
        if record.duration is not None:
            name, segments = file_name(request.file_path), record.segments_total
            _log.info("job %s (%s): %.0f s, segments: %d", job, name, record.duration, segments)
        progress = record.progress(self._ledger.now())
        self._services.show(job, progress.model_copy(update={"message": why}))
