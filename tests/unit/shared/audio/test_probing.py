"""Holes in the timestamps of packets."""

from __future__ import annotations

import pytest

from whisper_fleet.shared.audio.probing import Gap, Packet, _packet, find_gaps


def packets(*starts: float, length: float = 0.02) -> list[Packet]:
    return [Packet(start, start + length) for start in starts]


@pytest.mark.parametrize(
    ("starts", "gaps"),
    [
        ([], []),
        ([0.0, 0.02, 0.04], []),
        ([0.0, 0.021, 0.041, 0.06], []),  # milliseconds of a container
        ([5.0, 5.02], [Gap(at=0.0, seconds=5.0)]),
        ([-0.02, 0.0, 0.02], []),  # a decoder's delay
        ([0.0, 5.02, 5.04, 6.06], [Gap(at=0.02, seconds=5.0), Gap(at=0.06, seconds=1.0)]),
        ([0.0, 0.32, 0.64], [Gap(at=0.04, seconds=0.6)]),  # small ones add up
        ([0.0, 0.42, 0.04, 0.06], []),  # out of order
    ],
)
def test_gaps_are_where_packets_are_missing(starts: list[float], gaps: list[Gap]) -> None:
    assert find_gaps(packets(*starts)) == gaps


def test_packets_of_unknown_length_last_until_the_next() -> None:
    assert find_gaps(packets(0.0, 0.2, 0.4, 0.6, 0.8, 1.0, length=0.0)) == []
    assert [gap.seconds for gap in find_gaps(packets(0.0, 0.2, 3.2, length=0.0))] == [3.0]


def test_lines_of_framecrc_are_read() -> None:
    bases: dict[str, float] = {}
    lines = ["#tb 0: 1/1000", "#media_type 0: audio", "0, -20, -20, 20, 55, 0x14, S=1, Skip Samples, 10", ""]
    lines += ["0, NOPTS, NOPTS, 20, 55, 0x14", "7, 0, 0, 1, 2, 0x1", "0, 0, 40, 20, 64, 0x4b"]
    read = [packet for packet in (_packet(line, bases) for line in lines) if packet]
    assert read == [Packet(-20 * 0.001, 0.0), Packet(40 * 0.001, 60 * 0.001)]
