"""The plan of a file without a ledger: what intake enters for it, on an idle fleet."""

from __future__ import annotations

from whisper_fleet.scheduler.intake.cutters import cutter_of
from whisper_fleet.scheduler.intake.cutting import opened_cuts
from whisper_fleet.scheduler.intake.decoding.spooling import SpoolWriter
from whisper_fleet.shared.audio.decode import BYTES_PER_SAMPLE, SAMPLE_RATE
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.audio.sources import source_of
from whisper_fleet.shared.audio.spool import Spool
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobPlan, SegmentPlan


def plan_audio(
    file_path: str, job: str, segment_duration: float, settings: Settings, selection: AudioSelection = STOCK
) -> JobPlan:
    """Decode a file, cut it and spool its segments; raises a RequestError, after which nothing is spooled."""
    try:
        return _planned(file_path, job, segment_duration, settings, selection)
    except BaseException:
        Spool(settings).drop(job)
        raise


def _planned(
    file_path: str, job: str, segment_duration: float, settings: Settings, selection: AudioSelection
) -> JobPlan:
    spool, segments, position = SpoolWriter(job, settings), list[SegmentPlan](), 0
    with opened_cuts(file_path, segment_duration, settings, selection) as file:
        for index, cut in enumerate(file.segments(cutter_of(settings))):
            start, position = position, position + len(cut.pcm) // BYTES_PER_SAMPLE
            is_spooled = not (cut.is_last and index == 0) or source_of(file_path).may_expire
            name = spool.write(index, cut.pcm) if is_spooled else None
            times = {"start": start / SAMPLE_RATE, "end": position / SAMPLE_RATE}
            segments.append(SegmentPlan(index=index, spool=name, **times))
        return JobPlan(duration=file.seconds, segments=tuple(segments), warnings=file.warnings())
