"""Which sound of a file is transcribed: its track, its channel, and whether the file's time is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from whisper_fleet.shared.request.options import TranscribeRequest

_CHANNELS = {"left": 0, "right": 1}


@dataclass(frozen=True, kw_only=True)
class AudioSelection:
    """The options of a request that change its samples. The defaults are those of `whisper.load_audio`."""

    track: int | None = None  # 0 is the first audio track; None: the one that ffmpeg chooses
    channel: int | None = None  # 0 is the first; None: the mono mix of all
    keep_time: bool = False  # fill with silence what the file's timestamps leave out

    @classmethod
    def of(cls, request: TranscribeRequest) -> Self:
        """Return what a request selects."""
        channel = request.channel
        index = None if channel is None else _CHANNELS.get(channel)
        if channel is not None and index is None:
            index = int(channel)
        return cls(track=request.audio_track, channel=index, keep_time=request.keep_time)

    def arguments(self) -> list[str]:
        """Return ffmpeg's options for an output of this selection; none for the defaults."""
        track = [] if self.track is None else ["-map", f"0:a:{self.track}"]
        filters = []
        if self.channel is not None:
            # Unlike pan, it fails if there is no such channel, and it does not change the loudness.
            filters.append(f"channelmap=map={self.channel}-0:channel_layout=mono")
        if self.keep_time:
            filters.append("aresample=async=1:first_pts=0")
        return [*track, *(["-af", ",".join(filters)] if filters else [])]


#: What stock Whisper transcribes.
STOCK = AudioSelection()
