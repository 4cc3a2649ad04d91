"""The formats that ffmpeg may open: none makes it read another file or address."""

from __future__ import annotations

from whisper_fleet.shared.audio.containers import CONTAINERS, WHITELIST

#: The demuxers of ffmpeg 4 to 7 that open other files or addresses, by a search of libavformat for io_open,
#: avformat_open_input and ffurl_open, and those that are libraries or devices.
OPENS_OTHERS = {
    "concat", "concatf", "dash", "hls", "applehttp", "imf", "image2", "image2pipe", "mlv", "vobsub", "sdp", "rtsp",
    "rtp", "sap", "rdt", "webm_dash_manifest", "avisynth", "vapoursynth", "dvdvideo", "bluray", "libgme",
    "libopenmpt", "libmodplug", "libcdio", "lavfi", "alsa", "v4l2", "x11grab", "xcbgrab", "fbdev", "ffmetadata", "tty",
}  # fmt: skip


def test_no_format_makes_ffmpeg_open_another_file() -> None:
    names = [container.demuxer for container in CONTAINERS]
    assert OPENS_OTHERS.isdisjoint(names)
    assert len(set(names)) == len(names)
    assert WHITELIST.split(",") == names


def test_the_formats_that_stock_decodes_are_among_them() -> None:
    names = {container.demuxer for container in CONTAINERS}
    assert names >= {"mxf", "rm", "wtv", "dts", "truehd", "mlp", "loas", "g722", "nut", "wav", "mp3", "mov", "matroska"}
    assert all(container.description and container.extensions for container in CONTAINERS)
