"""Results to read: tables of means, BD-rates against anchors, and a plot as SVG, made without a library."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve, bd_psnr, bd_rate, common_range
from bifocal.measure.bench import Mean, Row
from bifocal.measure.metrics import ms_ssim_db

#: Line colours of a plot, told apart with common colour blindness (Okabe and Ito 2008).
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")


def table(means: Iterable[Mean]) -> str:
    """Means as an aligned plain-text table, one line for each codec and quality.

    >>> print(table([Mean("jpeg", 50, 24, 40000.0, 0.8138, 30.11, 0.9712, 0.004, 0.002)]))
    codec    quality     bytes     bpp   PSNR dB   MS-SSIM  encode s  decode s
    jpeg          50     40000  0.8138     30.11    0.9712     0.004     0.002
    """
    lines = ["codec    quality     bytes     bpp   PSNR dB   MS-SSIM  encode s  decode s"]
    for m in means:
        lines.append(
            f"{m.codec:<9}{m.quality:>7}{m.bytes:>10.0f}{m.bpp:>8.4f}{m.psnr:>10.2f}"
            f"{_known(m.ms_ssim, 4):>10}{_known(m.encode_seconds, 3):>10}{_known(m.decode_seconds, 3):>10}"
        )
    return "\n".join(lines)


#: The header of the lines of :func:`row_line`.
ROW_HEADER = "picture              codec    quality     bytes     bpp   PSNR dB   MS-SSIM  encode s  decode s"


def row_line(row: Row) -> str:
    """One measurement as a line, for results that are shown as they come."""
    name = row.picture if len(row.picture) <= 20 else f"…{row.picture[-19:]}"
    return (
        f"{name:<21}{row.codec:<9}{row.quality:>7}{row.bytes:>10}{row.bpp:>8.4f}{row.psnr:>10.2f}"
        f"{_known(row.ms_ssim, 4):>10}{row.encode_seconds:>10.3f}{row.decode_seconds:>10.3f}"
    )


def _known(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned.

    >>> print(markdown(["codec", "bpp"], [["jpeg", "0.81"]]))
    | codec | bpp |
    | --- | ---: |
    | jpeg | 0.81 |
    """
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def load_anchor(path: Path, name: str | None = None, *, metric: str = "psnr") -> Curve:
    """A published curve: a JSON file with ``results.bpp`` and ``results.psnr-rgb`` (CompressAI's layout).

    With ``metric="ms_ssim"`` quality is ``results.ms-ssim-rgb`` in dB. Raises MeasureError when the file
    does not hold the figures.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        results = entry["results"]
        bpp = results["bpp"]
        quality = (
            [ms_ssim_db(value) for value in results["ms-ssim-rgb"]]
            if metric == "ms_ssim"
            else results["psnr-rgb"]
        )
        return Curve(name or str(entry["name"]), tuple(map(float, bpp)), tuple(map(float, quality)))
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise MeasureError(f"{path} does not hold a published curve ({fault!r}). Copy it again.") from fault


def deltas(test: Curve, anchors: Iterable[Curve]) -> list[list[str]]:
    """One line for each anchor: its name, BD-rate in %, BD-PSNR in dB and the common range; '-' without
    one.
    """
    lines = []
    for anchor in anchors:
        low, high = common_range(anchor, test)
        try:
            rate, gain = f"{bd_rate(anchor, test):+.1f} %", f"{bd_psnr(anchor, test):+.2f} dB"
        except MeasureError:
            rate, gain = "-", "-"
        lines.append([anchor.name, rate, gain, f"{low:.1f}–{high:.1f} dB" if low < high else "none"])
    return lines


def plot_svg(
    lines: Mapping[str, Curve],
    *,
    title: str,
    dashed: Iterable[str] = (),
    bpp_limits: tuple[float, float] = (0.0, 2.0),
    psnr_limits: tuple[float, float] = (24.0, 44.0),
) -> str:
    """Rate-distortion curves as the text of an SVG file, 760 by 520 points; points outside the limits are
    cut.

    ``dashed`` names the curves drawn dashed and without dots (published ones, in our plots).

    >>> svg = plot_svg({"a": Curve("a", (0.2, 0.5, 1.0), (30.0, 33.0, 36.0))}, title="one curve")
    >>> svg.startswith("<svg") and "one curve" in svg
    True
    """
    left, top, width, height = 60, 40, 510, 430
    thin = set(dashed)

    def x(bpp: float) -> float:
        return left + width * (bpp - bpp_limits[0]) / (bpp_limits[1] - bpp_limits[0])

    def y(psnr: float) -> float:
        return top + height * (psnr_limits[1] - psnr) / (psnr_limits[1] - psnr_limits[0])

    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 520" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="760" height="520" fill="#ffffff"/>',
        f'<text x="{left}" y="24" font-size="15">{escape(title)}</text>',
        f'<clipPath id="frame"><rect x="{left}" y="{top}" width="{width}" height="{height}"/></clipPath>',
    ]
    for bpp in _ticks(*bpp_limits):
        out.append(f'<path d="M{x(bpp):.1f} {top}v{height}" stroke="#e0e0e0"/>')
        out.append(f'<text x="{x(bpp):.1f}" y="{top + height + 18}" text-anchor="middle">{bpp:g}</text>')
    for psnr in _ticks(*psnr_limits):
        out.append(f'<path d="M{left} {y(psnr):.1f}h{width}" stroke="#e0e0e0"/>')
        out.append(f'<text x="{left - 8}" y="{y(psnr) + 4:.1f}" text-anchor="end">{psnr:g}</text>')
    out.append(f'<text x="{left + width / 2}" y="508" text-anchor="middle">bits per pixel</text>')
    out.append(
        f'<text x="16" y="{top + height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {top + height / 2})">PSNR (RGB), dB</text>'
    )
    for i, (name, curve) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        points = sorted(zip(curve.bpp, curve.psnr, strict=True))
        path = " ".join(f"{x(b):.1f},{y(p):.1f}" for b, p in points)
        style = 'stroke-dasharray="5 4" stroke-width="1.5"' if name in thin else 'stroke-width="2"'
        out.append('<g clip-path="url(#frame)">')
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" {style}/>')
        if name not in thin:
            out += [f'<circle cx="{x(b):.1f}" cy="{y(p):.1f}" r="3" fill="{colour}"/>' for b, p in points]
        out.append("</g>")
        at = top + 14 + 20 * i
        out.append(
            f'<path d="M{left + width + 12} {at}h24" stroke="{colour}" {style}/>'
            f'<text x="{left + width + 42}" y="{at + 4}">{escape(name)}</text>'
        )
    out.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#404040"/>')
    return "\n".join([*out, "</svg>\n"])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that cut a range into four to ten parts."""
    for step in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0):
        if (high - low) / step <= 10.0:
            break
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 6) for k in range(first, math.floor(high / step + 1e-9) + 1)]
