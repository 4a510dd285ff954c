"""The rows of the tables in README.md: what is trained, in which order, and where its results are."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bifocal.measure import MeasureError

HERE = Path(__file__).resolve().parent
ROWS = HERE / "rows.toml"
#: Run records of finished rows, with the hash of their checkpoint: committed, where the checkpoints are not.
RECORDS = HERE / "runs"
#: Rate and distortion of measured rows.
RESULTS = HERE / "results"
#: Crops a step in the recipes of rows.
BATCH = 16


@dataclass(frozen=True)
class Phase:
    """A shipped recipe by the name of its file, or another by its path, without .toml; and how many steps."""

    recipe: str
    steps: int


@dataclass(frozen=True)
class Row:
    """One row of a table; ``name`` is that of its last recipe, with the seed if it is not the recipe's own.

    ``teacher`` and ``against`` are names of rows; ``against`` is empty in the first row of a table.
    ``changes`` are what it trains with in place of its recipe's numbers, such as the seed.
    """

    table: str
    name: str
    label: str
    phases: tuple[Phase, ...]
    teacher: str = ""
    against: str = ""
    estimated: bool = False
    changes: tuple[tuple[str, int], ...] = ()

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def crops(self) -> int:
        """How many crops it is trained on."""
        return self.steps * dict(self.changes).get("batch", BATCH)

    @property
    def results(self) -> Path:
        return RESULTS / f"{self.name}.json"


@dataclass(frozen=True)
class Table:
    """One system's rows."""

    name: str
    title: str
    rows: tuple[Row, ...]


def read_tables(path: Path = ROWS, *, gpu: bool = False) -> tuple[Table, ...]:
    """The tables of a file, or with ``gpu`` the same with more and larger crops, as its table ``gpu`` says.

    MeasureError if a row names one that does not exist, or has an unknown key.
    """
    with path.open("rb") as file:
        parsed = tomllib.load(file)
    steps = int(parsed["steps"])
    tables = []
    for entry in parsed["table"]:
        rows: list[Row] = []
        for fields in entry["row"]:
            rows.append(_row(entry["name"], dict(fields), steps, rows[-1].name if rows else ""))
        tables.append(Table(entry["name"], entry["title"], tuple(rows)))
    known = {row.name for table in tables for row in table.rows}
    for row in (row for table in tables for row in table.rows):
        for name in (row.against, row.teacher):
            if name and name not in known:
                raise MeasureError(f"{path}: row {row.name} names {name}, and there is no such row.")
    if not gpu:
        return tuple(tables)
    more = {key: int(value) for key, value in parsed["gpu"].items()}
    times = more.pop("steps") / steps
    return tuple(replace(t, rows=tuple(_longer(row, times, more) for row in t.rows)) for t in tables)


def _longer(row: Row, times: float, changes: dict[str, int]) -> Row:
    return replace(
        row,
        name=f"{row.name}.gpu",
        phases=tuple(replace(phase, steps=round(phase.steps * times)) for phase in row.phases),
        teacher=row.teacher and f"{row.teacher}.gpu",
        against=row.against and f"{row.against}.gpu",
        changes=tuple(changes.items()),
    )


def _row(table: str, fields: dict[str, Any], steps: int, above: str) -> Row:
    steps = int(fields.pop("steps", steps))
    if "phases" in fields:
        phases = tuple(Phase(str(p["recipe"]), int(p["steps"])) for p in fields.pop("phases"))
    else:
        phases = (Phase(str(fields.pop("recipe")), steps),)
    row = Row(
        table,
        Path(phases[-1].recipe).name,
        str(fields.pop("label")),
        phases,
        teacher=str(fields.pop("distil", "")),
        against=str(fields.pop("against", above)),
        estimated=bool(fields.pop("estimated", False)),
    )
    if fields:
        raise MeasureError(f"Row {row.name} has unknown keys: {', '.join(fields)}. Remove them.")
    return row


def seeded(row: Row, seed: int) -> Row:
    """The same row trained from another seed; the row that teaches it keeps its own."""
    return replace(
        row,
        name=f"{row.name}.seed{seed}",
        against=row.against and f"{row.against}.seed{seed}",
        changes=(*row.changes, ("seed", seed)),
    )
