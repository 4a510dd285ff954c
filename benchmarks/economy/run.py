"""How good a codec becomes for the processor time of its training: BD-rate against processor hours.

    python -m benchmarks.economy.run add RUN [--name NAME] [--after NAME] [--hours-only]
    python -m benchmarks.economy.run show [--docs]

``add`` reads the folder of a run (run.json and validation.jsonl) and adds a point to economy.tsv for each of
its validations; a run that was there before is replaced. ``--after`` names the run whose checkpoint it went
on from: its hours count too. ``--hours-only`` adds the hours of a run whose validation cannot be compared.
``show`` prints a table, and writes economy.svg.

BD-rate is that of the validation curve (bits and PSNR at the qualities of every validation, middles of the
validation pictures) against the curve of the model that shipped with 0.4.0; it compares only runs with the
same validation pictures. Hours are those of the processor where the run recorded them, and otherwise of the
wall times the threads, which is at least as much.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve, bd_rate, curve_of
from bifocal.measure.plot import Axes, plot_svg
from bifocal.measure.tables import markdown

HERE = Path(__file__).parent
POINTS = "economy.tsv"
#: The run whose last validation is that of the model shipped with 0.4.0.
ANCHOR = reporting.ROOT / "studies" / "shipped_weights" / "runs" / "14-shipped"


@dataclass(frozen=True)
class Point:
    """One validation: processor hours of its run so far, and with all runs before it; BD-rate in percent.

    ``bd_rate`` is NaN where only the hours are known.
    """

    run: str
    after: str
    step: int
    hours: float
    total_hours: float
    bd_rate: float


def read_points(path: Path) -> list[Point]:
    """The points of a file, none where there is no file. Raises MeasureError for one of another kind."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    try:
        if rows[0] != [field.name for field in fields(Point)]:
            raise ValueError("other columns")
        return [Point(run, after, int(step), *map(float, more)) for run, after, step, *more in rows[1:]]
    except (IndexError, TypeError, ValueError) as error:
        raise MeasureError(f"{path} does not hold points of training runs ({error}). Remove it.") from error


def write_points(path: Path, points: Iterable[Point]) -> None:
    """Write all points, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([field.name for field in fields(Point)])
    for point in points:
        writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in astuple(point)])
    reporting.write_text(path, text.getvalue())


def validations(folder: Path) -> list[dict[str, Any]]:
    """The validations of a run, oldest first. Raises MeasureError where there are none."""
    path = folder / "validation.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
        if found:
            return found
    except (OSError, ValueError) as error:
        raise MeasureError(f"{path} cannot be read ({error}). Give the folder of a run.") from error
    raise MeasureError(f"{path} is empty: the run was not validated. Use --hours-only.")


def curve(name: str, validation: dict[str, Any]) -> Curve:
    """Bits and PSNR at each quality of a validation."""
    return curve_of(name, [(row["bpp"], row["psnr"]) for row in validation["rows"]])


def hours_a_second(record: dict[str, Any]) -> float:
    """Processor hours for each second of a run: as recorded, or one for each thread."""
    if record.get("cpu_minutes") and record.get("minutes"):
        return float(record["cpu_minutes"]) / float(record["minutes"]) / 3600
    return float(record["threads"]) / 3600


def points_of(folder: Path, name: str, after: str, before: float, *, hours_only: bool = False) -> list[Point]:
    """The points of a run that went on after ``before`` processor hours of others."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MeasureError(f"{folder} has no record of a run ({error}). Give the folder of a run.") from error
    rate = hours_a_second(record)
    whole = 60 * float(record["minutes"]) * rate
    if hours_only:
        return [Point(name, after, int(record["steps"]), whole, before + whole, math.nan)]
    anchor = curve("shipped with 0.4.0", validations(ANCHOR)[-1])
    made = []
    for validation in validations(folder):
        hours = validation["seconds"] * rate
        gain = bd_rate(anchor, curve(name, validation))
        made.append(Point(name, after, int(validation["step"]), hours, before + hours, gain))
    if made[-1].hours < whole:  # what came after the last validation counts for runs that go on from here
        made.append(Point(name, after, int(record["steps"]), whole, before + whole, math.nan))
    return made


def table(points: Sequence[Point]) -> str:
    """The last validation of each run."""
    rows = []
    for name in dict.fromkeys(point.run for point in points):
        of = [point for point in points if point.run == name]
        known = [point for point in of if not math.isnan(point.bd_rate)]
        gain = f"{known[-1].bd_rate:+.1f} %" if known else "–"
        rows.append([name, of[0].after or "–", f"{of[-1].hours:.2f}", f"{of[-1].total_hours:.2f}", gain])
    header = ["run", "goes on from", "processor hours", "with all before it", "BD-rate against 0.4.0"]
    return markdown(header, rows)


def draw(points: Sequence[Point]) -> str:
    """BD-rate over processor hours, a line for each run, as the text of an SVG file."""
    known = [point for point in points if not math.isnan(point.bd_rate)]
    lines: dict[str, list[tuple[float, float]]] = {}
    for point in known:
        lines.setdefault(point.run, []).append((point.total_hours, point.bd_rate))
    low, high = (extreme(p.bd_rate for p in known) for extreme in (min, max))
    axes = Axes(
        x_label="processor hours of training, with all runs before it",
        y_label="BD-rate against 0.4.0, %",
        x_limits=(0.0, math.ceil(max(p.total_hours for p in known) + 0.5)),
        y_limits=(math.floor(low) - 1.0, math.ceil(high) + 1.0),
    )
    return plot_svg(lines, title="What training buys (validation pictures)", axes=axes)


def add(chosen: argparse.Namespace) -> None:
    """Add the points of a run, and show all."""
    points = read_points(chosen.out / POINTS)
    name = chosen.name or chosen.folder.name
    before = [point.total_hours for point in points if point.run == chosen.after]
    if chosen.after and not before:
        raise MeasureError(f"There is no run {chosen.after} in {POINTS}. Add it first.")
    new = points_of(chosen.folder, name, chosen.after, max(before, default=0.0), hours_only=chosen.hours_only)
    write_points(chosen.out / POINTS, [*(p for p in points if p.run != name), *new])
    if any(not math.isnan(point.bd_rate) for point in read_points(chosen.out / POINTS)):
        show(chosen)


def show(chosen: argparse.Namespace) -> None:
    """Print the table, draw the plot, and with ``--docs`` fill the pages that show the table."""
    points = read_points(chosen.out / POINTS)
    if all(math.isnan(point.bd_rate) for point in points):
        raise MeasureError(f"{chosen.out / POINTS} has no validation. Add a run first.")
    text = table(points)
    print(text)
    reporting.write_text(chosen.out / "economy.svg", draw(points))
    if chosen.docs:
        reporting.fill("economy", text)


def main() -> None:
    parser = reporting.parser(__doc__, HERE)
    commands = parser.add_subparsers(required=True)
    adding = commands.add_parser("add", help="add the points of a run")
    adding.add_argument("folder", type=Path, help="with run.json and validation.jsonl")
    adding.add_argument("--name", default="", help="name of the run (default: that of the folder)")
    adding.add_argument("--after", default="", help="name of the run whose checkpoint it went on from")
    adding.add_argument("--hours-only", action="store_true", help="its validation cannot be compared")
    adding.set_defaults(does=add)
    commands.add_parser("show", help="print the table and draw the plot").set_defaults(does=show)
    chosen = parser.parse_args()
    chosen.does(chosen)


if __name__ == "__main__":
    reporting.run(main)
