"""Cost against work as an SVG: the multiple of the bare transforms, and bytes a pixel, over the side of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .cost import Point

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 720, 250, 70, 40, 65
_COLOURS = {"cold": "#1f6fb4", "warm": "#c8501e"}
_Curve = list[tuple[int, float]]


def svg(studies: Mapping[str, Sequence[Point]]) -> str:
    """The plot of the studies by regime."""
    multiples = {name: [(p.side, p.multiple.median) for p in found] for name, found in studies.items()}
    memories = {
        name: [(p.side, p.bytes_a_pixel) for p in found if p.bytes_a_pixel is not None]
        for name, found in studies.items()
    }
    sides = sorted({point.side for found in studies.values() for point in found})
    height = 2 * (_HEIGHT + _GAP) + _TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 2 * _LEFT}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_panel("time, as a multiple of the bare transforms'", multiples, sides, _TOP),
        *_panel("peak memory, bytes a pixel", memories, sides, _TOP + _HEIGHT + _GAP),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(title: str, curves: Mapping[str, _Curve], sides: list[int], top: float) -> list[str]:
    """One plot: sides in powers of two across, values from zero up."""
    drawn = [point for curve in curves.values() for point in curve]
    parts = [_text(_LEFT, top - 10, title, "start")]
    if not drawn:
        return [*parts, _text(_LEFT, top + 20, "not measured", "start")]
    step = _step(max(value for _, value in drawn))
    highest = step * math.ceil(1.05 * max(value for _, value in drawn) / step)

    def at(side: float, value: float) -> tuple[float, float]:
        across = math.log2(side / sides[0]) / max(math.log2(sides[-1] / sides[0]), 1)
        return _LEFT + _WIDTH * across, top + _HEIGHT * (1 - value / highest)

    for n in range(round(highest / step) + 1):
        _, y = at(sides[0], n * step)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{n * step:g}", "end"))
    parts += [_text(at(side, 0)[0], top + _HEIGHT + 18, f"{side}²", "middle") for side in sides]
    for name, curve in curves.items():
        parts += _curve(name, [at(*point) for point in curve])
    return parts


def _curve(name: str, points: list[tuple[float, float]]) -> list[str]:
    if not points:
        return []
    colour = _COLOURS.get(name, "black")
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    label = _text(points[-1][0] + 8, points[-1][1] + 4, name, "start", colour)
    return [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, label]


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _step(most: float) -> float:
    """1, 2 or 5 times a power of ten: about five lines up to the largest value."""
    power = 10 ** math.floor(math.log10(most / 5))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= most / 5)
