"""Curves as the text of an SVG file, drawn without a library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

#: Line colours that people with common colour blindness can distinguish (Okabe and Ito 2008).
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
#: The frame inside the 760 by 520 points of a plot.
_LEFT, _TOP, _WIDTH, _HEIGHT = 60, 40, 510, 430


@dataclass(frozen=True)
class Axes:
    """What the two axes show, from where to where."""

    x_label: str = "bits per pixel"
    y_label: str = "PSNR (RGB), dB"
    x_limits: tuple[float, float] = (0.0, 2.0)
    y_limits: tuple[float, float] = (24.0, 44.0)

    def x(self, value: float) -> float:
        return _LEFT + _WIDTH * (value - self.x_limits[0]) / (self.x_limits[1] - self.x_limits[0])

    def y(self, value: float) -> float:
        return _TOP + _HEIGHT * (self.y_limits[1] - value) / (self.y_limits[1] - self.y_limits[0])


def plot_svg(
    lines: Mapping[str, Iterable[tuple[float, float]]],
    *,
    title: str,
    dashed: Iterable[str] = (),
    axes: Axes | None = None,
) -> str:
    """Lines through points (x, y) as the text of an SVG file; points outside the axes are cut.

    ``dashed`` names the lines drawn dashed and without dots (published curves, in our plots).

    >>> svg = plot_svg({"a": [(0.2, 30.0), (0.5, 33.0)]}, title="one curve")
    >>> svg.startswith("<svg") and "one curve" in svg
    True
    """
    axes, dashed = axes or Axes(), set(dashed)
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 520" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="760" height="520" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
        f'<clipPath id="frame"><rect x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}"/></clipPath>',
        *_grid(axes),
    ]
    for number, (name, points) in enumerate(lines.items()):
        out += _line(axes, number, name, sorted(points), name in dashed)
    frame = f'x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}"'
    return "\n".join([*out, f'<rect {frame} fill="none" stroke="#404040"/>', "</svg>\n"])


def _grid(axes: Axes) -> list[str]:
    """Grid lines with their numbers, and the names of the axes."""
    out = []
    for x in _ticks(*axes.x_limits):
        out.append(f'<path d="M{axes.x(x):.1f} {_TOP}v{_HEIGHT}" stroke="#e0e0e0"/>')
        out.append(f'<text x="{axes.x(x):.1f}" y="{_TOP + _HEIGHT + 18}" text-anchor="middle">{x:g}</text>')
    for y in _ticks(*axes.y_limits):
        out.append(f'<path d="M{_LEFT} {axes.y(y):.1f}h{_WIDTH}" stroke="#e0e0e0"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{axes.y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    middle = _TOP + _HEIGHT / 2
    return [
        *out,
        f'<text x="{_LEFT + _WIDTH / 2}" y="508" text-anchor="middle">{escape(axes.x_label)}</text>',
        f'<text x="16" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 16 {middle})">{escape(axes.y_label)}</text>',
    ]


def _line(
    axes: Axes, number: int, name: str, points: Iterable[tuple[float, float]], dashed: bool
) -> list[str]:
    """One line, its dots, and its entry in the legend."""
    colour = COLOURS[number % len(COLOURS)]
    dots = [(f"{axes.x(x):.1f}", f"{axes.y(y):.1f}") for x, y in points]
    path = " ".join(f"{x},{y}" for x, y in dots)
    style = 'stroke-dasharray="5 4" stroke-width="1.5"' if dashed else 'stroke-width="2"'
    out = [
        '<g clip-path="url(#frame)">',
        f'<polyline points="{path}" fill="none" stroke="{colour}" {style}/>',
    ]
    if not dashed:
        out += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in dots]
    at = _TOP + 14 + 20 * number
    return [
        *out,
        "</g>",
        f'<path d="M{_LEFT + _WIDTH + 12} {at}h24" stroke="{colour}" {style}/>'
        f'<text x="{_LEFT + _WIDTH + 42}" y="{at + 4}">{escape(name)}</text>',
    ]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that cut a range into four to ten parts."""
    for step in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0):
        if (high - low) / step <= 10.0:
            break
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 6) for k in range(first, math.floor(high / step + 1e-9) + 1)]
