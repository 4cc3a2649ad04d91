"""Draws the share of busy slots of a simulated fleet over time as an SVG, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.simulation.run import SimulationResult

_WIDTH, _HEIGHT = 860, 380
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 20, 20, 90
_COLOURS = ("#1b7f4d", "#1f5fa8", "#c2571a", "#8a3fa0")


def plot(results: Sequence[SimulationResult]) -> str:
    """Return an SVG with one line per policy: the share of busy slots from submission until the last segment ends."""
    last = max(figures.makespan for figures in results)
    lines = [_line(figures, last, colour) for figures, colour in zip(results, _COLOURS, strict=False)]
    legend = [_legend(number, figures) for number, figures in enumerate(results)]
    parts = [_frame(last), *reversed(lines), *legend]  # the first policy on top
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _x(second: float, last: float) -> float:
    return _LEFT + second / last * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _TOP + (1 - min(share, 1.0)) * (_HEIGHT - _TOP - _BOTTOM)


def _line(figures: SimulationResult, last: float, colour: str) -> str:
    step = max(1, len(figures.usage) // 400)
    points = " ".join(f"{_x(second, last):.1f},{_y(share):.1f}" for second, share in figures.usage[::step])
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _frame(last: float) -> str:
    parts = []
    for percent in range(0, 101, 25):
        y = _y(percent / 100)
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>')
    for quarter in range(5):
        second = last * quarter / 4
        place = f'x="{_x(second, last):.1f}" y="{_HEIGHT - _BOTTOM + 18}"'
        parts.append(f'<text {place} text-anchor="middle">{second:.0f} s</text>')
    return "\n".join(parts)


def _legend(number: int, figures: SimulationResult) -> str:
    x, y = _LEFT + 400 * (number % 2), _HEIGHT - 42 + 22 * (number // 2)
    words = f"{figures.policy}: {figures.utilisation:.1%} busy, done after {figures.makespan:.0f} s"
    colour = _COLOURS[number % len(_COLOURS)]
    return (
        f'<rect x="{x}" y="{y - 9}" width="18" height="4" fill="{colour}"/>'
        f'<text x="{x + 26}" y="{y - 3}">{words}</text>'
    )
