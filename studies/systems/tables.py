"""The tables of README.md, written from results and never by hand."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve, bd_rate, common_range, load_anchor
from bifocal.measure.tables import markdown
from studies.systems.rows import RESULTS, Row, Table, seeded

ANCHOR = reporting.ROOT / "benchmarks" / "anchors" / "kodak" / "vtm.json"
#: Below this many percent a second seed decides whether there is a difference at all.
CLOSE = 2.0
SECOND_SEED = 1
HEADER = (
    "row | BD-rate against the row above | against VTM | parameters | analysis, kMAC/px "
    "| entropy nets, kMAC/px | synthesis, kMAC/px | encode, s | decode, s"
).split(" | ")


@dataclass(frozen=True)
class Gap:
    """BD-rate of a row against another in percent, one figure a seed; none where curves do not overlap."""

    percents: tuple[float, ...]
    why: str = ""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.percents)

    @property
    def wants_seed(self) -> bool:
        return len(self.percents) == 1 and abs(self.percents[0]) < CLOSE

    def __str__(self) -> str:
        if not self.percents:
            return self.why
        if len(self.percents) > 1:
            return f"{self.mean:+.1f} % ({', '.join(f'{p:+.1f}' for p in self.percents)})"
        return f"{self.mean:+.1f} %" + (" (one seed)" if self.wants_seed else "")


def read_results(row: Row) -> dict[str, Any] | None:
    """What was measured of a row, or None."""
    if not row.results.exists():
        return None
    result: dict[str, Any] = json.loads(row.results.read_text("utf-8"))
    return result


def curve(row: Row) -> Curve | None:
    """Means over pictures at each quality: first bits and PSNR of each picture, then their means."""
    result = read_results(row)
    if result is None:
        return None
    pictures = list(result["points"].values())
    means = [[statistics.fmean(p[q][i] for p in pictures) for i in (0, 1)] for q in range(len(pictures[0]))]
    return Curve(row.name, tuple(m[0] for m in means), tuple(m[1] for m in means))


def gap(row: Row, other: Row) -> Gap:
    """BD-rate of ``row`` against ``other``, of every seed that both were measured with."""
    percents = []
    for seed in (None, SECOND_SEED):
        pair = [curve(r if seed is None else seeded(r, seed)) for r in (other, row)]
        if pair[0] is None or pair[1] is None:
            if seed is None:
                return Gap((), "not measured")
            continue
        try:
            percents.append(bd_rate(pair[0], pair[1]))
        except MeasureError:
            return Gap((), "no overlap")
    return Gap(tuple(percents))


def close_pairs(tables: tuple[Table, ...]) -> list[Row]:
    """Rows to train from a second seed: those less than two percent from the one above, and that one."""
    known = {row.name: row for table in tables for row in table.rows}
    wanted: dict[str, Row] = {}
    for row in (row for table in tables for row in table.rows):
        if row.against and gap(row, known[row.against]).wants_seed:
            for one in (known[row.against], row):
                wanted[one.name] = seeded(one, SECOND_SEED)
    return list(wanted.values())


def _against_vtm(row: Row) -> str:
    ours, vtm = curve(row), load_anchor(ANCHOR, "VTM")
    if ours is None:
        return "not measured"
    low, high = common_range(vtm, ours)
    try:
        return f"{bd_rate(vtm, ours):+.0f} % ({low:.1f}–{high:.1f} dB)"
    except MeasureError:
        return f"no overlap ({min(ours.psnr):.1f}–{max(ours.psnr):.1f} dB)"


def _line(row: Row, known: dict[str, Row], seconds: dict[str, list[float]]) -> list[str]:
    result = read_results(row)
    if result is None:
        return [row.label, "not measured", *["–"] * (len(HEADER) - 2)]
    label = row.label + (" (estimated: it cannot be a file)" if result["estimated"] else "")
    if result["crops"] < row.crops:
        label += f" (only {result['crops']:,} crops)"
    above = "–" if not row.against else str(gap(row, known[row.against]))
    cost = result["cost"]
    middle = [v for part, v in cost.items() if part not in ("analysis", "synthesis", "fixed")]
    kmacs = [cost["analysis"][1], sum(v[1] for v in middle), cost["synthesis"][1]]
    times = [f"{s:.2f}" for s in seconds.get(row.name, ())] or ["–", "–"]
    parameters = sum(v[0] for v in cost.values())
    cells = [f"{parameters / 1e6:.2f} M", *(f"{kmac:.1f}" for kmac in kmacs), *times]
    return [label, above, _against_vtm(row), *cells]


def table_text(table: Table, tables: tuple[Table, ...]) -> str:
    """One system's table in Markdown, and what its figures are of."""
    known = {row.name: row for t in tables for row in t.rows}
    times = RESULTS / "times.json"
    timed = json.loads(times.read_text("utf-8")) if times.exists() else {}
    text = markdown(HEADER, [_line(row, known, timed.get("seconds", {})) for row in table.rows])
    notes = [
        f"“Above” is “{known[row.against].label}” for “{row.label}”."
        for above, row in zip(table.rows, table.rows[1:], strict=False)
        if row.against != above.name
    ]
    if around := timed.get("surroundings"):
        notes.append(
            f"Times: median of {around['rounds']} turns on a {around['picture']} picture at quality "
            f"{around['quality']}, {around['threads']} threads, {around['machine']}, load "
            f"{around['load'][0]}."
        )
    return "\n".join([text, "", *notes]).strip() + "\n"
