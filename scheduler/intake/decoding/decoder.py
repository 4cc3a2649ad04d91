"""Decodes the file of one job as far as it should be decoded now, and lets its segments wait for GPUs meanwhile.

Called by the planner, which has the claim on the job. A file beyond its first segment needs a permit; without one, or
if enough waits for the GPUs, decoding stops, and `parking` has the job taken up again. Raises the RequestError of the
file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from enum import Enum, auto

from whisper_fleet.scheduler.intake.cutting import Cut, cutter_for, opened_cuts
from whisper_fleet.scheduler.intake.decoding.growing import GrowingPlan
from whisper_fleet.scheduler.intake.decoding.permits import Permit
from whisper_fleet.scheduler.intake.decoding.spooling import SpoolWriter, pressure
from whisper_fleet.scheduler.services import Services
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE
from whisper_fleet.shared.audio.selection import AudioSelection
from whisper_fleet.shared.audio.sources import source_of
from whisper_fleet.shared.models import ModelDims
from whisper_fleet.shared.wire import SegmentPlan, TranscribeRequest


class Ending(Enum):
    """How the decoding of a job's file ended."""

    CLOSED = auto()  # its plan is complete
    STOPPED = auto()  # its plan is open, and is to be parked
    NOT_BEGUN = auto()  # its tenant has its share of intake: it is to be deferred
    LOST = auto()  # the job ended, or another process has it


class Decoder:
    """Decodes for one job; `on_open` is called once its first segment waits and its plan is open."""

    def __init__(
        self,
        services: Services,
        job: str,
        request: TranscribeRequest,
        dims: ModelDims | None,
        known: Sequence[SegmentPlan] = (),
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._services, self._request, self._on_open = services, request, on_open
        self._plan = GrowingPlan(services, job, request, dims, known)
        self._spool = SpoolWriter(job, services.settings)
        self._position = round(known[-1].end * SAMPLE_RATE) if known else 0
        self._index = len(known)
        self._may_expire = source_of(request.file_path).may_expire

    def run(self) -> Ending:
        """Decode from where the known segments end."""
        request, settings = self._request, self._services.settings
        cutter, selection = cutter_for(settings, request.vad), AudioSelection.of(request)
        with Permit(settings) as permit:
            if self._plan.is_open and not self._may_go_on(permit):
                return Ending.STOPPED
            with opened_cuts(request.file_path, request.segment_duration, settings, selection) as file:
                last: list[SegmentPlan] = []
                with contextlib.closing(file.segments(cutter, self._position)) as cuts:
                    for cut in cuts:
                        if cut.is_last:
                            last = [self._spooled(cut, permit)]
                        elif ending := self._add(cut, permit):
                            return ending
                first = self._index - len(last)
                is_ours = self._plan.close(last, first, file.seconds, file.warnings())
        return Ending.CLOSED if is_ours else Ending.LOST

    def _add(self, cut: Cut, permit: Permit) -> Ending | None:
        """Let a segment wait that is not the last; return how the decoding ends, if it ends here."""
        was_open = self._plan.is_open
        unfinished = self._plan.add(self._spooled(cut, permit))
        if unfinished is None:
            return Ending.LOST
        self._services.wake_dispatcher()
        if not was_open:
            self._on_open()
        if self._may_expire:
            return None
        waiting = pressure(len(cut.pcm), fleet_slots(self._services), self._services.settings)
        if not permit.acquire() or waiting.stops(unfinished, is_first=not was_open):
            return Ending.STOPPED
        return None

    def _spooled(self, cut: Cut, permit: Permit) -> SegmentPlan:
        """Write a segment to the spool and return its plan; the only one of a file that stays is read from there."""
        index, start = self._index, self._position
        self._index, self._position = index + 1, start + len(cut.pcm) // BYTES_PER_SAMPLE
        is_alone = cut.is_last and index == 0
        name = None
        if self._may_expire or not is_alone:
            is_decoding_on = cut.is_last or self._may_go_on(permit)
            name = self._spool.write(index, cut.pcm, is_decoding_on=is_decoding_on)
        return SegmentPlan(index=index, start=start / SAMPLE_RATE, end=self._position / SAMPLE_RATE, spool=name)

    def _may_go_on(self, permit: Permit) -> bool:
        """Return whether the file may be decoded beyond its first segment; one that may expire is not left."""
        return permit.acquire() or self._may_expire


def fleet_slots(services: Services) -> int:
    """Return the slots of all GPUs that are up."""
    return sum(gpu.slots for gpu in services.fleet.gpus(services.fleet.now(), services.settings.heartbeat_timeout))
