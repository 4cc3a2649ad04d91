"""Draws the samples of a soak as an SVG with a panel per measure, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.soak.flatness import MEASURES, Trend, series, trends
from tests.chaos.soak.samples import Sample

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _GAP = 860, 150, 70, 150, 34, 46
_COLOURS = {"left": "#1b7f4d", "right": "#1f5fa8", "redis": "#c2571a"}


def plot(samples: Sequence[Sample], faults: Sequence[tuple[float, str]]) -> str:
    """Return the SVG: one panel per measure, a line per host, and a mark per fault."""
    last = max(sample.minute for sample in samples)
    panels = [_panel(number, trend, samples, last) for number, trend in enumerate(trends(samples))]
    height = _TOP + len(MEASURES) * (_PANEL + _GAP) + 10
    marks = [f'<path d="M{_x(minute, last):.1f} {height - 34} v8" stroke="#a00"/>' for minute, _ in faults]
    legend = f'<text x="{_LEFT}" y="{height - 10}">minutes; red marks: faults</text>'
    body = "\n".join([*panels, *marks, legend])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
        f' font-size="12">\n<rect width="{_WIDTH}" height="{height}" fill="white"/>\n{body}\n</svg>\n'
    )


def _x(minute: float, last: float) -> float:
    return _LEFT + minute / last * (_WIDTH - _LEFT - _RIGHT)


def _panel(number: int, trend: Trend, samples: Sequence[Sample], last: float) -> str:
    top = _TOP + number * (_PANEL + _GAP)
    hosts = {host: series(samples, trend.measure, host) for host in _COLOURS}
    highest = max((value for points in hosts.values() for _, value in points), default=0.0) * 1.1 or 1.0
    unit = MEASURES[trend.measure][0]
    title = f"{trend.measure}{f' ({unit})' if unit else ''}: {trend.growth:+.1%}"
    parts = [f'<text x="{_LEFT}" y="{top - 8}" font-weight="bold">{title}</text>', *_grid(top, highest, last)]
    for place, (host, points) in enumerate(hosts.items()):
        if any(value for _, value in points):
            parts += _line(points, highest, last, top, _COLOURS[host])
            parts.append(
                f'<text x="{_WIDTH - _RIGHT + 12}" y="{top + 14 + 18 * place}" fill="{_COLOURS[host]}">{host}</text>'
            )
    return "\n".join(parts)


def _grid(top: int, highest: float, last: float) -> list[str]:
    parts = []
    for quarter in range(5):
        y = top + _PANEL * (1 - quarter / 4)
        label = f"{highest * quarter / 4:.3g}"
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>')
        x = _x(last * quarter / 4, last)
        parts.append(f'<text x="{x:.1f}" y="{top + _PANEL + 16}" text-anchor="middle">{last * quarter / 4:.0f}</text>')
    return parts


def _line(points: Sequence[tuple[float, float]], highest: float, last: float, top: int, colour: str) -> list[str]:
    places = " ".join(f"{_x(minute, last):.1f},{top + _PANEL * (1 - value / highest):.1f}" for minute, value in points)
    return [f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
