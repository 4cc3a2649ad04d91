"""What a client has to know about the sound of its file, although the job succeeded. Only what is certain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_fleet.shared.audio.levels import Levels
from whisper_fleet.shared.audio.probing import LEAST_GAP, Gap, gaps, has_sound, last_end, loudness
from whisper_fleet.shared.audio.report import DecodeReport
from whisper_fleet.shared.audio.selection import AudioSelection
from whisper_fleet.shared.settings import Settings
from whisper_fleet.shared.wire import JobWarning, WarningKind

#: Seconds by which a file may be shorter than it declares: headers are rounded, and the last frame is padded.
_TOLERATED_SECONDS = 1.0
_MOST_GAPS = 20
_MOST_TRACKS = 8
#: No sample of a silent track is louder: -60 dBFS.
_SILENT_PEAK = 33
#: dBFS. Below it, a mix is compared with its channels, which costs another decoding.
_QUIET_MIX = -45.0
_AUDIBLE_CHANNELS = -50.0
#: dB by which a mix is quieter than its channels if they cancel each other. Independent channels lose 3.
_CANCELLED = 15.0


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A file that was decoded to its end."""

    path: Path
    selection: AudioSelection
    report: DecodeReport
    levels: Levels
    seconds: float  # of sound


def audio_warnings(decoded: Decoded, settings: Settings) -> tuple[JobWarning, ...]:
    """Return the warnings of a decoded file; it is looked at again only if something is wrong with it."""
    return (
        *_about_its_time(decoded, settings),
        *_about_its_end(decoded, settings),
        *_about_damage(decoded.report),
        *_about_silence(decoded, settings),
        *_about_cancelling(decoded, settings),
    )


def _about_its_time(decoded: Decoded, settings: Settings) -> Iterator[JobWarning]:
    """Compare the time at which the last sample belongs with the number of samples."""
    report = decoded.report
    if decoded.selection.keep_time or report.ended is None or report.chosen is None:
        return
    missing = report.ended - decoded.seconds
    if missing < LEAST_GAP:
        return
    # What no timestamp leaves out was lost in decoding, which is reported as damage.
    for gap in (gaps(decoded.path, report.chosen.index, settings) or [])[:_MOST_GAPS]:
        yield _gap(gap)


def _gap(gap: Gap) -> JobWarning:
    effect = f"so the times after it are {gap.seconds:.1f} s earlier than the file's: keep_time keeps them"
    if gap.at == 0.0:
        message = f"the sound starts {gap.seconds:.1f} s after the beginning of the file, {effect}"
        return JobWarning(kind=WarningKind.LATE, message=message, at=0.0)
    message = f"the sound has a hole of {gap.seconds:.1f} s, {effect}"
    return JobWarning(kind=WarningKind.GAP, message=message, at=gap.at)


def _about_its_end(decoded: Decoded, settings: Settings) -> Iterator[JobWarning]:
    report = decoded.report
    if report.declared is None or report.ended is None or report.declared - report.ended <= _TOLERATED_SECONDS:
        return
    if report.has_other_streams or len(report.tracks) > 1:
        end = last_end(decoded.path, settings)
        if end is None or report.declared - end <= _TOLERATED_SECONDS:  # only the sound ends early
            return
    message = (
        f"the file is incomplete: it declares {report.declared:.1f} s and its sound ends at {report.ended:.1f} s,"
        " so the transcript ends there"
    )
    yield JobWarning(kind=WarningKind.TRUNCATED, message=message, at=round(decoded.seconds, 3))


def _about_damage(report: DecodeReport) -> Iterator[JobWarning]:
    if report.problems:
        first = re.sub(r"^file:.*?: ", "", report.problems[0]).strip().rstrip(".")[:200]
        printable = "".join(character for character in first if character.isprintable())
        count = "1 message" if len(report.problems) == 1 else f"{len(report.problems)} messages"
        message = f"ffmpeg could not decode all of the sound ({printable}; {count})"
        yield JobWarning(kind=WarningKind.DAMAGED, message=message)


def _about_silence(decoded: Decoded, settings: Settings) -> Iterator[JobWarning]:
    report, chosen = decoded.report, decoded.report.chosen
    if chosen is None or decoded.levels.peak > _SILENT_PEAK:
        return
    for other in report.tracks[:_MOST_TRACKS]:
        if other != chosen and has_sound(decoded.path, other.number, settings):
            message = f"audio track {chosen} is silent, but track {other} is not: audio_track={other.number} chooses it"
            yield JobWarning(kind=WarningKind.SILENT_TRACK, message=message)
            return


def _about_cancelling(decoded: Decoded, settings: Settings) -> Iterator[JobWarning]:
    chosen = decoded.report.chosen
    is_mixed = chosen is not None and chosen.channels != "mono" and decoded.selection.channel is None
    if chosen is None or not is_mixed or decoded.levels.dbfs >= _QUIET_MIX:
        return
    channels = loudness(decoded.path, chosen.number, settings)
    if channels is not None and channels > _AUDIBLE_CHANNELS and channels - decoded.levels.dbfs >= _CANCELLED:
        message = (
            f"the channels of audio track {chosen} cancel each other: their mix is"
            f" {channels - decoded.levels.dbfs:.0f} dB quieter than they are; channel=left chooses one"
        )
        yield JobWarning(kind=WarningKind.CANCELLED, message=message)
