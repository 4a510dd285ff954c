"""Drawings as inline SVG: histograms, curves, a stacked bar and waveforms, without a library.

Colours are CSS variables (``--ink``, ``--faint``, ``--one``, ``--two``, ``--bad``), which the page that holds
the picture defines, so that it can be dark or light. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 74, 16, 28, 46


@dataclass(frozen=True)
class Bar:
    """One bar: its ends on the axis, its height, and the text that is shown when it is hovered over."""

    left: float
    right: float
    count: float
    title: str = ""
    colour: str = "one"


@dataclass(frozen=True)
class Wave:
    """A signal over cycles: one integer a cycle, and those with the fault beside.

    ``width`` is its bits; a wave of one bit is drawn as a line, a wider one as boxes with hexadecimal values.
    """

    name: str
    width: int
    correct: Sequence[int]
    faulty: Sequence[int]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        part = (math.log10(value) if self.log else value) - low
        return self.start + (self.stop - self.start) * part / (high - low)


def histogram(
    bars: Sequence[Bar], *, x_label: str, y_label: str, log: bool = False, percent: bool = True
) -> str:
    """Bars over an axis from 0 to 1 (in per cent); ``log`` counts on a logarithmic axis, which shows ones.

    >>> svg = histogram([Bar(0, 0.5, 3, "three"), Bar(0.5, 1, 9)], x_label="score", y_label="LUTs")
    >>> svg.count("<rect") >= 2, "three" in svg
    (True, True)
    """
    top = max([1.0, *(bar.count for bar in bars)])
    high = 10 ** math.ceil(math.log10(top * 1.2)) if log else _round_up(top)
    left = min([0.0, *(bar.left for bar in bars)])
    x = _Axis(left, 1.0, _LEFT, _WIDTH - _RIGHT)
    y = _Axis(0.5 if log else 0.0, high, _HEIGHT - _BOTTOM, _TOP, log)
    out = _frame(y, [10**k for k in range(round(math.log10(high)) + 1)] if log else _ticks(0, high))
    for bar in bars:
        if bar.count:
            at, height = y.at(bar.count), y.start - y.at(bar.count)
            out.append(
                f'<rect class="bar" x="{x.at(bar.left) + 0.8:.1f}" y="{at:.1f}" '
                f'width="{x.at(bar.right) - x.at(bar.left) - 1.6:.1f}" height="{height:.1f}" rx="1.5" '
                f'fill="var(--{bar.colour})"><title>{escape(bar.title or f"{bar.count:g}")}</title></rect>'
            )
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        out.append(
            _text(x.at(tick), _HEIGHT - _BOTTOM + 18, f"{tick * 100:.0f} %" if percent else f"{tick:g}")
        )
    for bar in bars:
        if bar.left < 0:
            out.append(_text((x.at(bar.left) + x.at(bar.right)) / 2, _HEIGHT - _BOTTOM + 18, "none"))
    return _svg([*out, *_labels(x_label, y_label)], f"Histogram: {y_label} over {x_label}")


def curve(
    xs: Sequence[float],
    lines: Sequence[tuple[str, str, Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    share_y: bool = False,
    diagonal: bool = False,
) -> str:
    """Lines (name, colour, values) over ``xs``, which rise; ``share_y`` has an axis of 0 to 100 %.

    >>> "<polyline" in curve([1, 10, 100], [("faults", "one", [0, 4, 5])], x_label="cycles", y_label="faults")
    True
    """
    high = 1.0 if share_y else _round_up(max(1.0, *(max(ys) for _, _, ys in lines)))
    low_x = xs[0]
    x = _Axis(low_x, max(xs[-1], low_x * 1.001 + 1e-9), _LEFT, _WIDTH - _RIGHT - 6, log_x)
    y = _Axis(0.0, high, _HEIGHT - _BOTTOM, _TOP)
    out = _frame(y, _ticks(0, high), percent=share_y)
    ticks = (
        [10.0**k for k in range(math.ceil(math.log10(x.low)), math.floor(math.log10(x.high)) + 1)]
        if log_x
        else _ticks(x.low, x.high)
    )
    for tick in ticks:
        label = f"{tick * 100:.0f} %" if share_y and x.high <= 1 else f"{tick:,.0f}"
        out.append(f'<path class="grid" d="M{x.at(tick):.1f} {_TOP}V{y.start}"/>')
        out.append(_text(x.at(tick), _HEIGHT - _BOTTOM + 18, label))
    if diagonal:
        out.append(f'<path class="thin" d="M{x.start} {y.start}L{x.stop} {y.stop}"/>')
    for row, (name, colour, ys) in enumerate(lines):
        points = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in zip(xs, ys, strict=True))
        out.append(f'<polyline class="line" points="{points}" stroke="var(--{colour})"/>')
        if len(lines) > 1:
            at = _TOP + 18 + 20 * row
            out.append(f'<path class="line" d="M{_LEFT + 14} {at}h22" stroke="var(--{colour})"/>')
            out.append(_text(_LEFT + 42, at + 4, name, anchor="start"))
    return _svg([*out, *_labels(x_label, y_label)], f"{y_label} over {x_label}")


def scatter(dots: Sequence[tuple[float, float, str, str]], *, x_label: str, y_label: str) -> str:
    """Dots (x, share, colour, title) over an axis from the least x to the largest; shares in per cent.

    >>> svg = scatter([(1.0, 0.4, "one", "a"), (3.0, 0.5, "quiet", "b")], x_label="ms", y_label="right")
    >>> svg.count("<circle")
    2
    """
    xs, ys = [dot[0] for dot in dots] or [0.0], [dot[1] for dot in dots] or [0.0]
    x = _Axis(min(xs), max(max(xs), min(xs) * 1.001 + 1e-9), _LEFT + 8, _WIDTH - _RIGHT - 8)
    low = max(0.0, math.floor(20 * min(ys) - 0.5) / 20)
    y = _Axis(low, min(1.0, max(low + 0.05, math.ceil(20 * max(ys) + 0.5) / 20)), _HEIGHT - _BOTTOM, _TOP)
    out = _frame(y, _ticks(y.low, y.high), percent=True)
    out += [_text(x.at(tick), _HEIGHT - _BOTTOM + 18, f"{tick:.3g}") for tick in _ticks(x.low, x.high)]
    out += [
        f'<circle cx="{x.at(a):.1f}" cy="{y.at(b):.1f}" r="3.5" fill="var(--{colour})">'
        f"<title>{escape(title)}</title></circle>"
        for a, b, colour, title in dots
    ]
    return _svg([*out, *_labels(x_label, y_label)], f"{y_label} over {x_label}")


def stacked(parts: Sequence[tuple[str, str, int]]) -> str:
    """One bar cut into named parts (name, colour, count), with a legend that gives counts and shares.

    >>> "25.0 %" in stacked([("wrong", "bad", 1), ("right", "one", 3)])
    True
    """
    total = max(1, sum(count for _, _, count in parts))
    width, left, out = 1132.0, 0.0, []
    legend = []
    for name, colour, count in parts:
        span = width * count / total
        if count:
            label = escape(f"{name}: {count:,}")
            out.append(
                f'<rect x="{left:.1f}" y="0" width="{max(0.6, span - 1):.1f}" height="34" rx="2" '
                f'fill="var(--{colour})"><title>{label}</title></rect>'
            )
        left += span
        legend.append(
            f'<li><i style="background:var(--{colour})"></i>{escape(name)} <b>{count:,}</b> '
            f"({100 * count / total:.1f} %)</li>"
        )
    bar = f'<svg viewBox="0 0 {width:.0f} 34" role="img" aria-label="Classes of faults">{"".join(out)}</svg>'
    return f'{bar}<ul class="legend">{"".join(legend)}</ul>'


def waveform(waves: Sequence[Wave], first: int) -> str:
    """Signals without the fault and, where they differ, with it, from cycle ``first`` on.

    >>> svg = waveform([Wave("q", 1, [0, 1, 1], [0, 1, 0]), Wave("bus", 8, [1, 2, 3], [1, 2, 7])], 40)
    >>> svg.count('class="wrong"'), "03" in svg, "07" in svg
    (2, True, True)
    """
    cycles = max(1, *(len(wave.correct) for wave in waves)) if waves else 1
    left, step, row, gap = 190.0, max(14.0, min(46.0, 940.0 / cycles)), 20.0, 10.0
    out, top = [], 30.0
    every = max(1, math.ceil(52 / step))
    for cycle in range(0, cycles, every):
        out.append(_text(left + (cycle + 0.5) * step, 16, f"{first + cycle}"))
    for wave in waves:
        wrong = [a != b for a, b in zip(wave.correct, wave.faulty, strict=True)]
        rows = [("correct", "one", wave.correct)] + ([("faulty", "bad", wave.faulty)] if any(wrong) else [])
        height = len(rows) * (row + 4)
        for cycle, bad in enumerate(wrong):
            if bad:
                out.append(
                    f'<rect class="wrong" x="{left + cycle * step:.1f}" y="{top - 3:.1f}" '
                    f'width="{step:.1f}" height="{height + 2:.1f}"/>'
                )
        for index, (which, colour, values) in enumerate(rows):
            at = top + index * (row + 4)
            name = wave.name if index == 0 else which
            out.append(_text(left - 10, at + 14, name, anchor="end", kind="" if index == 0 else "faint"))
            draw = _bit_line if wave.width == 1 else _bus_boxes
            out += draw(values, wave.width, left, at, step, row, colour)
        top += height + gap
    width = left + cycles * step + 8
    return (
        f'<svg class="wave" viewBox="0 0 {width:.0f} {top:.0f}" style="min-width:{min(width, 1100):.0f}px" '
        f'role="img" aria-label="Outputs with and without the fault">{"".join(out)}</svg>'
    )


def _bit_line(
    values: Sequence[int], width: int, left: float, top: float, step: float, row: float, colour: str
) -> list[str]:
    path, level = [], -1
    for cycle, value in enumerate(values):
        y = top + (2 if value else row - 2)
        if value != level:
            path.append(f"{'M' if level < 0 else 'L'}{left + cycle * step:.1f} {y:.1f}")
        path.append(f"H{left + (cycle + 1) * step:.1f}")
        level = value
        if cycle + 1 < len(values) and values[cycle + 1] != value:
            path.append(f"V{top + (2 if values[cycle + 1] else row - 2):.1f}")
    return [f'<path class="line" d="{"".join(path)}" stroke="var(--{colour})"/>']


def _bus_boxes(
    values: Sequence[int], width: int, left: float, top: float, step: float, row: float, colour: str
) -> list[str]:
    out, start = [], 0
    digits = -(-width // 4)
    for cycle in range(1, len(values) + 1):
        if cycle < len(values) and values[cycle] == values[start]:
            continue
        x0, x1 = left + start * step, left + cycle * step
        text = f"{values[start]:0{digits}x}"
        out.append(
            f'<path class="box" d="M{x0 + 3:.1f} {top + 2}H{x1 - 3:.1f}L{x1:.1f} {top + row / 2}'
            f"L{x1 - 3:.1f} {top + row - 2}H{x0 + 3:.1f}L{x0:.1f} {top + row / 2}Z"
            f'" stroke="var(--{colour})"><title>{text}</title></path>'
        )
        if len(text) * 7 + 6 <= x1 - x0:
            out.append(_text((x0 + x1) / 2, top + row / 2 + 4, text, kind="value"))
        start = cycle
    return out


def _frame(y: _Axis, ticks: Sequence[float], *, percent: bool = False) -> list[str]:
    out = []
    for tick in ticks:
        out.append(f'<path class="grid" d="M{_LEFT} {y.at(tick):.1f}H{_WIDTH - _RIGHT}"/>')
        label = f"{tick * 100:.0f} %" if percent else f"{tick:,.0f}"
        out.append(_text(_LEFT - 8, y.at(tick) + 4, label, anchor="end"))
    return out


def _labels(x_label: str, y_label: str) -> list[str]:
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    return [
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, kind="label"),
        f'<text class="label" text-anchor="middle" transform="rotate(-90 13 {middle})" x="13" '
        f'y="{middle}">{escape(y_label)}</text>',
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], name: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )


def _round_up(value: float) -> float:
    """The next number of the form 1, 2, 2.5 or 5 times a power of ten that five or fewer steps reach."""
    step = 10.0 ** math.floor(math.log10(value / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if step * factor * 5 >= value:
            break
    size = max(1.0, step * factor)
    return size * math.ceil(value / size)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that cut a range into about five parts."""
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    for factor in (1, 2, 2.5, 5, 10):
        if (high - low) / (size * factor) <= 6:
            break
    step = size * factor
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def grouped_bars(
    groups: Sequence[tuple[str, Sequence[float]]], names: Sequence[tuple[str, str]], *, unit: str
) -> str:
    """For each group (label, values) a horizontal bar of each value; ``names`` are (name, colour), in order.

    >>> svg = grouped_bars([("first", [4.0, 1.0])], [("a", "one"), ("b", "two")], unit="KiB")
    >>> svg.count("<rect"), "4.0 KiB" in svg
    (4, True)
    """
    top, high, left, width = 26.0, 9.0, 250.0, 1132.0
    largest = max([1e-12, *(value for _, values in groups for value in values)])
    out, at = [], top
    for number, (name, colour) in enumerate(names):
        x = left + 260.0 * number
        out.append(f'<rect x="{x:.1f}" y="4" width="11" height="11" rx="2" fill="var(--{colour})"/>')
        out.append(_text(x + 17, 14, name, anchor="start"))
    for label, values in groups:
        middle = at + high * len(values) / 2 + 4
        out.append(_text(left - 8, middle, label if len(label) < 38 else f"{label[:36]}…", anchor="end"))
        for value, (name, colour) in zip(values, names, strict=True):
            length = max(0.5, (width - left - 90) * value / largest)
            title = escape(f"{label}, {name}: {value:,.1f} {unit}")
            out.append(
                f'<rect x="{left}" y="{at:.1f}" width="{length:.1f}" height="{high - 1:.1f}" rx="1.5" '
                f'fill="var(--{colour})"><title>{title}</title></rect>'
            )
            if value == max(values):
                out.append(_text(left + length + 6, at + 8, f"{value:,.1f} {unit}", anchor="start"))
            at += high
        at += 9
    return (
        f'<svg viewBox="0 0 {width:.0f} {at:.0f}" role="img" aria-label="{escape(unit)} by layer">'
        f"{''.join(out)}</svg>"
    )
