"""Draws memory, wanted and live slots of one GPU over time as an SVG, with nothing but text."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT = 860, 540
_LEFT, _RIGHT = 60, 20
_MEMORY_TOP, _MEMORY_BOTTOM = 60, 250
_SLOTS_TOP, _SLOTS_BOTTOM = 290, 460
_GIB = 2**30
_ASIDE, _TENANT, _USED, _WANTED, _LIVE, _ROWS = "#5f6368", "#c2571a", "#1f5fa8", "#8a3fa0", "#1b7f4d", "#9aa0a6"

Sample = dict[str, Any]
Value = Callable[[Sample], float | None]


class Panel:
    """A part of the picture with a scale of its own."""

    def __init__(self, top: float, bottom: float, most: float, last: float) -> None:
        self.top, self.bottom, self.most, self.last = top, bottom, most, last

    def x(self, second: float) -> float:
        return _LEFT + second / self.last * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.bottom - min(value / self.most, 1.0) * (self.bottom - self.top)

    def line(self, samples: Sequence[Sample], value: Value, colour: str, *, stepped: bool = True) -> str:
        """Return the known values only."""
        points: list[str] = []
        for sample in samples:
            seen = value(sample)
            if seen is None:
                continue
            x, y = self.x(sample["at"]), self.y(seen)
            if stepped and points:
                points.append(f"{x:.1f},{points[-1].split(',')[1]}")
            points.append(f"{x:.1f},{y:.1f}")
        return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'

    def area(self, samples: Sequence[Sample], value: Value, colour: str) -> str:
        line = self.line(samples, value, "none").split('"')[1]
        first, last = line.split(" ")[0].split(",")[0], line.split(" ")[-1].split(",")[0]
        return f'<polygon points="{first},{self.bottom} {line} {last},{self.bottom}" fill="{colour}" opacity="0.25"/>'

    def frame(self, unit: str) -> str:
        parts = []
        for quarter in range(5):
            y = self.bottom - quarter / 4 * (self.bottom - self.top)
            parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="#ddd"/>')
            number = self.most * quarter / 4
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{number:.4g}</text>')
        parts.append(f'<text x="{_LEFT}" y="{self.top - 8}">{unit}</text>')
        return "\n".join(parts)


def plot(part: dict[str, Any]) -> str:
    """A part's report with `samples` and `events`, as benchmarks.gpu.fleet writes it."""
    samples = [sample for sample in part["samples"] if sample["total"]]
    last = max(sample["at"] for sample in samples)
    memory = Panel(_MEMORY_TOP, _MEMORY_BOTTOM, _rounded(max(sample["total"] for sample in samples) / _GIB), last)
    slots = Panel(_SLOTS_TOP, _SLOTS_BOTTOM, _rounded(max(_most_slots(sample) for sample in samples)), last)
    body = [
        memory.frame("GiB on the GPU"),
        memory.area(samples, lambda sample: (sample["aside"] + sample["tenant"]) / _GIB, _TENANT),
        memory.area(samples, lambda sample: sample["aside"] / _GIB, _ASIDE),
        memory.line(samples, lambda sample: sample["used"] / _GIB, _USED),
        slots.frame("slots"),
        slots.line(samples, lambda sample: sample["rows"], _ROWS, stepped=False),
        slots.line(samples, lambda sample: sample["wanted"], _WANTED),
        slots.line(samples, lambda sample: sample["live"], _LIVE),
        *_seconds(slots),
        *_events(part["events"], memory, slots),
        *_legend(has_third=any(sample["aside"] for sample in samples)),
    ]
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12"'
    white = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{white}\n' + "\n".join(body) + "\n</svg>\n"


def _most_slots(sample: Sample) -> int:
    return max(sample["wanted"] or 0, sample["live"] or 0, sample["rows"] or 0, 1)


def _rounded(most: float) -> int:
    """Return an upper end of the scale whose quarters are integers."""
    unit = 4 if most < 40 else 40
    return math.ceil(most / unit) * unit


def _seconds(panel: Panel) -> list[str]:
    parts = []
    for quarter in range(5):
        second = panel.last * quarter / 4
        place = f'x="{panel.x(second):.1f}" y="{panel.bottom + 18}"'
        parts.append(f'<text {place} text-anchor="middle">{second:.0f} s</text>')
    return parts


def _events(events: Sequence[tuple[float, str]], upper: Panel, lower: Panel) -> list[str]:
    parts = []
    shown = [(second, words) for second, words in events if words]
    for number, (second, words) in enumerate(shown):
        x, y = upper.x(second), upper.top - 44 + 16 * (number % 3)
        ends = f'x1="{x:.1f}" y1="{y - 10}" x2="{x:.1f}" y2="{lower.bottom}"'
        parts.append(f'<line {ends} stroke="#555" stroke-dasharray="3 3"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="{y}" fill="#555">{words}</text>')
    return parts


def _legend(*, has_third: bool) -> list[str]:
    entries = (
        ("memory in use", _USED),
        ("held by the other process", _TENANT),
        *((("held by a third one all along", _ASIDE),) if has_third else ()),
        ("wanted slots", _WANTED),
        ("live slots", _LIVE),
        ("rows being decoded", _ROWS),
    )
    parts = []
    for number, (words, colour) in enumerate(entries):
        x, y = _LEFT + 260 * (number % 3), _HEIGHT - 40 + 22 * (number // 3)
        parts.append(f'<rect x="{x}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 26}" y="{y - 3}">{words}</text>')
    return parts


def main() -> None:
    """Draw the JSON file as a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--part", default="a")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text())
    arguments.picture.write_text(plot(report["parts"][arguments.part]))


if __name__ == "__main__":
    main()
