"""Decodes any audio or video file to 16 kHz mono PCM."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from whisper_fleet.shared.audio.ffmpeg import CPU_SECONDS, Ffmpeg, NoOutput, running
from whisper_fleet.shared.audio.report import DecodeReport, first_error, read_report
from whisper_fleet.shared.audio.selection import STOCK, AudioSelection
from whisper_fleet.shared.errors import AudioTrackMissing, ChannelMissing, CorruptAudio, NoAudioStream, RequestError
from whisper_fleet.shared.settings import Settings

#: s16le, mono, SAMPLE_RATE, in chunks of any length; closing it ends its ffmpeg.
PcmStream = Generator[bytes, None, None]

SAMPLE_RATE = 16_000
BYTES_PER_SAMPLE = 2


def stream_pcm(
    path: Path,
    settings: Settings,
    *,
    called: str | None = None,
    selection: AudioSelection = STOCK,
    on_end: Callable[[DecodeReport], None] | None = None,
    seconds: float | None = None,
    background_after: float | None = None,
) -> PcmStream:
    """Yield the samples of `whisper.load_audio` as s16le 16 kHz mono, in chunks as they are decoded.

    A `selection` chooses other samples of the file; `seconds` ends it early. After `background_after` seconds of audio,
    ffmpeg runs at a lower priority. Damage that ffmpeg skips (a torn tail, a
    bad frame) is skipped, as in whisper; `on_end` receives what ffmpeg reported, once everything is decoded. Raises
    NoAudioStream, AudioTrackMissing, ChannelMissing or CorruptAudio if nothing could be decoded or ffmpeg failed; they
    name the file as its client `called` it.
    """
    name = called or str(path)
    with running(path, _output(selection, seconds), settings) as ffmpeg:
        try:
            yield from _in_background(ffmpeg, background_after)
        except NoOutput as error:
            raise CorruptAudio(path=name, reason=str(error)) from None
        code, log = ffmpeg.code(), ffmpeg.log()
    if code != 0:
        raise _error(name, code, log, selection)
    if on_end is not None:
        on_end(read_report(log))


def _in_background(ffmpeg: Ffmpeg, after: float | None) -> Iterator[bytes]:
    """Yield what ffmpeg writes; after this many seconds of audio, it has a lower priority."""
    left = None if after is None else after * SAMPLE_RATE * BYTES_PER_SAMPLE
    for chunk in ffmpeg.chunks():
        if left is not None and (left := left - len(chunk)) < 0:
            ffmpeg.lower_priority()
            left = None
        yield chunk


def _output(selection: AudioSelection, seconds: float | None) -> list[str]:
    """Return openai-whisper's own arguments, with those of the selection."""
    form = ["-f", "s16le", "-ac", "1", "-acodec", "pcm_s16le", "-ar", str(SAMPLE_RATE)]
    length = [] if seconds is None else ["-t", str(seconds)]
    return ["-vn", "-sn", "-dn", *selection.arguments(), *length, *form, "-"]


def _error(name: str, code: int, log: str, selection: AudioSelection) -> RequestError:
    """Return the error for the client from ffmpeg's exit code and log."""
    report = read_report(log)
    if "does not contain any stream" in log or (selection.track is not None and report.has_other_streams_only):
        return NoAudioStream(path=name)
    if selection.track is not None and report.tracks and selection.track >= len(report.tracks):
        return AudioTrackMissing(path=name, track=selection.track, tracks="; ".join(map(str, report.tracks)))
    if "not available from input layout" in log:
        channels = report.chosen.channels if report.chosen else "fewer channels"
        return ChannelMissing(path=name, channel=selection.channel, channels=channels)
    return CorruptAudio(path=name, reason=_reason(code, log))


def _reason(code: int, log: str) -> str:
    if code == -signal.SIGXCPU:
        return f"ffmpeg needed more than {CPU_SECONDS} s of processor time"
    if "Format not on whitelist" in log:
        return "its format is not one of those that the fleet decodes"
    first = first_error(log) or f"ffmpeg ended with code {code}"
    return re.sub(r"^(Error opening input\S*|file:.*?):\s+", "", first).strip().rstrip(".")[:200]
