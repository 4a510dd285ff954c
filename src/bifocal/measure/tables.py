"""Results as tables: measurements and their means in plain text, Markdown, and BD-rates against anchors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve, bd_psnr, bd_rate, common_range
from bifocal.measure.bench import Mean, Measurement

HEADER = "codec    quality     bytes     bpp   PSNR dB   MS-SSIM  encode s  decode s"
#: The header of the lines of :func:`named_line`.
NAMED_HEADER = f"{'picture':<21}{HEADER}"


def line(row: Measurement | Mean) -> str:
    """One measurement, or means over pictures, as a line under :data:`HEADER`.

    >>> print(line(Mean("jpeg", 50, 24, 40000.0, 0.8138, 30.11, 0.9712, 0.004, 0.002)))
    jpeg          50     40000  0.8138     30.11    0.9712     0.004     0.002
    """
    return (
        f"{row.codec:<9}{row.quality:>7}{row.bytes:>10.0f}{row.bpp:>8.4f}{row.psnr:>10.2f}"
        f"{_known(row.ms_ssim, 4):>10}{_known(row.encode_seconds, 3):>10}{_known(row.decode_seconds, 3):>10}"
    )


def named_line(row: Measurement) -> str:
    """One measurement as a line with the name of its picture, for rows that are shown as they come."""
    name = row.picture if len(row.picture) <= 20 else f"…{row.picture[-19:]}"
    return f"{name:<21}{line(row)}"


def table(rows: Iterable[Measurement | Mean]) -> str:
    """An aligned plain-text table with its header."""
    return "\n".join([HEADER, *map(line, rows)])


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


def deltas(test: Curve, anchors: Iterable[Curve]) -> list[list[str]]:
    """A row for each anchor: its name, BD-rate in %, BD-PSNR in dB and the common range; '-' without one."""
    rows = []
    for anchor in anchors:
        low, high = common_range(anchor, test)
        try:
            rate, gain = f"{bd_rate(anchor, test):+.1f} %", f"{bd_psnr(anchor, test):+.2f} dB"
        except MeasureError:
            rate, gain = "-", "-"
        rows.append([anchor.name, rate, gain, f"{low:.1f}–{high:.1f} dB" if low < high else "none"])
    return rows
