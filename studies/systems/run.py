"""What the ideas of four published systems are worth: train, measure and tabulate the rows of rows.toml.

    python -m studies.systems.run train --data TRAIN --work RUNS      train the rows that are missing
    python -m studies.systems.run measure --kodak KODAK --data TRAIN --work RUNS   pack, code and decode
    python -m studies.systems.run time --kodak KODAK --work RUNS      encode and decode seconds, in turn
    python -m studies.systems.run table --docs                        tables, into README.md too

Every command does what is missing and may be stopped and started again. A row is 2,500 steps of 16 crops of
128×128 (40,000 crops) by `bifocal-train run` or `distil`. Rates are those of whole files, PSNR over RGB of
what they decode to, at five qualities, means over pictures; rows with float entropy networks cannot be files:
their bits are counted, and the table says so. `train --seeds` trains from a second seed what lies within two
percent of its neighbour. `--gpu` before the command is the same with rows of 300,000 crops of 256×256.
Records of runs and hashes of checkpoints are kept in runs/, results in results/.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import reporting
from bifocal.errors import BifocalError
from bifocal.measure import MeasureError
from studies.systems import measuring, training
from studies.systems import tables as pages
from studies.systems.rows import ROWS, Row, Table, read_tables, seeded


def chosen_rows(tables: tuple[Table, ...], names: list[str]) -> list[Row]:
    """The rows of these names, each once, or all; ``NAME.seed1`` is that row from another seed."""
    known = {row.name: row for table in tables for row in table.rows}
    if not names:
        return list(known.values())
    rows = []
    for name in names:
        plain, _, seed = name.partition(".seed")
        if plain not in known:
            raise MeasureError(f"There is no row {name}: choose among {', '.join(known)}.")
        rows.append(seeded(known[plain], int(seed)) if seed else known[plain])
    return rows


def with_seeds(rows: list[Row], work: Path) -> list[Row]:
    """Rows and what was trained of them from a second seed."""
    more = [seeded(row, pages.SECOND_SEED) for row in rows if ".seed" not in row.name]
    return rows + [row for row in more if training.is_trained(row, work)]


def train_rows(options: argparse.Namespace, tables: tuple[Table, ...]) -> int:
    rows = pages.close_pairs(tables) if options.seeds else chosen_rows(tables, options.rows)
    failed = 0
    for row in rows:
        if training.is_trained(row, options.work):
            training.write_record(row, options.work)
            continue
        print(f"{time.strftime('%H:%M')} {row.name}: {row.steps} steps", flush=True)
        try:
            training.train(row, options.data, options.work, threads=options.threads, device=options.device)
        except (BifocalError, subprocess.CalledProcessError, OSError) as fault:
            print(f"{row.name}: {fault}; see train.log in its folder", file=sys.stderr, flush=True)
            failed = 1
    return failed


def measure_rows(options: argparse.Namespace, tables: tuple[Table, ...]) -> int:
    failed = 0
    for row in with_seeds(chosen_rows(tables, options.rows), options.work):
        if not training.is_trained(row, options.work):
            print(f"{row.name}: not trained")
            continue
        if measuring.is_measured(row, options.work):
            continue
        try:
            result = measuring.measure(row, options.kodak, options.data, options.work)
        except (BifocalError, OSError) as fault:
            print(f"{row.name}: {fault}", file=sys.stderr, flush=True)
            failed = 1
            continue
        print(
            f"{time.strftime('%H:%M')} {row.name}: {result['processor_seconds']} processor seconds",
            flush=True,
        )
    return failed


def time_rows(options: argparse.Namespace, tables: tuple[Table, ...]) -> int:
    measuring.measure_times(
        chosen_rows(tables, options.rows),
        sorted(options.kodak.glob("*.png"))[4],
        options.work,
        rounds=options.rounds,
        quality=50,
        threads=options.threads,
    )
    return 0


def write_tables(options: argparse.Namespace, tables: tuple[Table, ...]) -> int:
    for table in tables:
        text = pages.table_text(table, tables)
        print(f"## {table.title}\n\n{text}")
        if options.docs:
            reporting.fill(table.name, text)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows-file", type=Path, default=ROWS, help="another table of rows")
    parser.add_argument("--gpu", action="store_true", help="rows of 300,000 crops of 256×256: ROW.gpu")
    commands = parser.add_subparsers(required=True)
    made = {}
    for name, does in (
        ("train", train_rows),
        ("measure", measure_rows),
        ("time", time_rows),
        ("table", write_tables),
    ):
        made[name] = commands.add_parser(name)
        made[name].set_defaults(does=does)
        if name != "table":
            made[name].add_argument("rows", nargs="*", help="all by default")
            made[name].add_argument("--work", type=Path, required=True, help="checkpoints and packed models")
    made["train"].add_argument("--data", type=Path, required=True, help="training pictures")
    made["train"].add_argument("--threads", type=int, default=1)
    made["train"].add_argument("--device", default="", help="cpu or cuda; chosen by itself when empty")
    made["train"].add_argument("--seeds", action="store_true", help="second seeds where rows are close")
    made["measure"].add_argument("--kodak", type=Path, required=True)
    made["measure"].add_argument("--data", type=Path, help="training pictures, to fit tables to")
    made["time"].add_argument("--kodak", type=Path, required=True)
    made["time"].add_argument("--rounds", type=int, default=5)
    made["time"].add_argument("--threads", type=int, default=2)
    made["table"].add_argument("--docs", action="store_true", help="into the pages that show them, too")
    options = parser.parse_args()
    return int(options.does(options, read_tables(options.rows_file, gpu=options.gpu)))


if __name__ == "__main__":
    reporting.run(main)
