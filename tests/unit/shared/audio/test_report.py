"""What is read from ffmpeg's log, in the forms of its versions 4, 7 and 9."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.audio.report import DecodeReport, Track, first_error, read_report

FILM_4 = """\
[mpeg4 @ 0x29bf0380] [error] Failed to parse extradata
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'film.mp4':
[info]   Metadata:
[info]     title           : The film
[info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 82 kb/s
[info]     Stream #0:0(und): Video: mpeg4 (Simple Profile) (mp4v / 0x7634706D), yuv420p, 64x48, 5 fps (default)
[info]     Metadata:
[info]       title           : Pictures
[info]     Stream #0:1(und): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, stereo, fltp, 2 kb/s (default)
[info]     Stream #0:2(deu): Audio: aac (LC) (mp4a / 0x6134706D), 16000 Hz, 5.1(side), fltp, 50 kb/s
[info]     Metadata:
[info]       title           : Kommentar\x1b[31m
[info] Stream mapping:
[info]   Stream #0:2 -> #0:0 (aac (native) -> pcm_s16le (native))
[info] Output #0, s16le, to 'pipe:':
[info]     Stream #0:0: Audio: pcm_s16le, 16000 Hz, mono, s16, 256 kb/s
[aac @ 0x355b1100] [error] Input buffer exhausted before END element found
[error] Error while decoding stream #0:2: Invalid data found when processing input
[info] size=     222kB time=01:02:03.10 bitrate= 150.3kbits/s speed= 661x
[info] video:0kB audio:222kB subtitle:0kB other streams:0kB global headers:0kB muxing overhead: 0.000000%
"""


def test_tracks_choice_times_and_problems_are_read() -> None:
    german = Track(number=1, index=2, channels="5.1(side)", language="deu", title="Kommentar[31m")
    assert read_report(FILM_4) == DecodeReport(
        tracks=(Track(number=0, index=1, channels="stereo"), german),
        chosen=german,
        declared=3723.5,
        ended=3723.1,
        has_other_streams=True,
        problems=(
            "Input buffer exhausted before END element found",
            "Error while decoding stream #0:2: Invalid data found when processing input",
        ),
    )
    assert str(german) == '1 (5.1(side), deu, "Kommentar[31m")'


@pytest.mark.parametrize("identifier", ["#0:0", "#0:0[0x1]", "#0:0(eng)", "#0:0[0x1a](eng)"])
@pytest.mark.parametrize("indent", ["  ", "    "])
def test_streams_are_read_in_the_form_of_every_version(identifier: str, indent: str) -> None:
    log = (
        "[info] Input #0, ogg, from 'a':\n"
        f"[info] {indent}Stream {identifier}: Audio: opus, 48000 Hz, mono, fltp, start 5.014000\n"
        "[info] Stream mapping:\n[info]   Stream #0:0 -> #0:0 (opus (native) -> pcm_s16le (native))\n"
    )
    report = read_report(log)
    assert report.chosen == report.tracks[0]
    assert report.tracks[0].channels == "mono"


def test_an_estimated_duration_is_not_a_declared_one() -> None:
    estimate = "[in#0/aac @ 0x564c9b] [warning] Estimating duration from bitrate, this may be inaccurate\n"
    log = "[info] Input #0, aac, from 'a':\n[info]   Duration: 00:00:07.78, bitrate: 76 kb/s\n"
    assert read_report(log).declared == 7.78
    assert read_report(estimate + log).declared is None
    assert read_report("[info] Input #0, aac, from 'a':\n[info]   Duration: N/A, bitrate: N/A\n").declared is None


@pytest.mark.parametrize(
    ("line", "is_problem"),
    [
        ("[in#0/wav @ 0x1] [warning] Packet corrupt (stream = 0, dts = NOPTS).", True),
        ("[aist#0:0/aac @ 0x1] [dec:aac @ 0x2] [error] Decoding error: Invalid data found", True),
        ("[vist#0:1/h264 @ 0x1] [error] no frame!", False),
        ("[h264 @ 0x1] [error] non-existing PPS 0 referenced", False),
        ("[mp3 @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate", False),
        ("[info]     comment         : [error] this is a comment", False),
    ],
)
def test_problems_are_those_of_the_sound(line: str, is_problem: bool) -> None:
    video = "[info] Input #0, mpegts, from 'a':\n[info]   Stream #0:1: Video: h264 (High), yuv420p\n"
    assert bool(read_report(f"{video}{line}\n").problems) is is_problem


def test_metadata_cannot_pose_as_a_stream() -> None:
    log = (
        "[info] Input #0, mp3, from 'a':\n[info]   Metadata:\n"
        "[info]     title           :   Stream #0:7: Audio: aac, 48000 Hz, mono\n"
        "[info]                     :   Duration: 99:00:00.00\n"
    )
    assert read_report(log) == DecodeReport()


def test_the_first_error_is_given_without_its_source() -> None:
    log = "[info] Input\n[a @ 0x1] [warning] w\n[mov,mp4 @ 0x2] [error] moov atom not found\n[fatal] gone\n"
    assert first_error(log) == "moov atom not found"
    assert first_error("[info] Input\n") is None
