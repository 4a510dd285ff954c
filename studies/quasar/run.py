"""What mixed precision by rows, layer scaling and search by latency are worth, and how far the model can be
trusted.

    python -m studies.quasar.run --published [--docs]         the latency model against published designs
    python -m studies.quasar.run --calibrate                  its two constants, fitted to four of them
    python -m studies.quasar.run --engine [--docs]            the model and the integers against Verilog
    python -m studies.quasar.run --arms DATA [--docs]         precision, layer scaling, entanglement
    python -m studies.quasar.run --search DATA [--docs]       guides at equal latency, ranks after fine-tuning
    python -m studies.quasar.run --reader HEAD --test DATA    a found head beside the shipped one

DATA is a folder with a subfolder of pictures for each class. `--engine` needs Icarus Verilog or Verilator.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bifocal
from benchmarks import reporting
from bifocal.hardware.devices.device import load_device
from bifocal.hardware.devices.latency import design
from bifocal.hardware.devices.published import compare, points
from bifocal.learn.search.space import load_space
from bifocal.measure.tables import markdown
from bifocal.pictures.reading import read_picture
from bifocal.runtime.heads.file import head_path
from bifocal.runtime.heads.run import Head
from studies.quasar.arms import Sizes, data_of, guide_rows, precision_rows, rank_rows, trained
from studies.quasar.engine import SHAPES, simulate, simulator

#: Constants that are tried in the fit.
EFFICIENCIES, CONTROLS = np.arange(0.5, 1.01, 0.05), (0, 250, 500, 1000, 2000, 4000, 8000)
#: A found head is timed so often, after a first call.
CALLS = 20


def published(chosen: argparse.Namespace) -> None:
    """The table of published designs and the model of each."""
    rows = compare(load_device("zcu102"))
    lines = [
        [
            row.point.name,
            "yes" if row.point.fitted else "held out",
            f"{row.point.fps:.1f}",
            f"{row.fps:.1f}",
            f"{row.error:+.0%}",
            row.point.assumed,
        ]
        for row in rows
    ]
    heads = ["design", "fitted", "published FPS", "modelled FPS", "error", "what we assume"]
    text = markdown(heads, lines)
    result = [
        {
            "name": r.point.name,
            "fitted": r.point.fitted,
            "published": r.point.fps,
            "modelled": round(r.fps, 3),
        }
        for r in rows
    ]
    reporting.publish(chosen, "quasar-published", text, result)


def calibrate() -> None:
    """Print the constants with the least squared logarithmic error on the designs of the fit."""
    device, fitted = load_device("zcu102"), [point for point in points() if point.fitted]
    tiles = [tile for tile in device.tiles if tile.multipliers >= 2048]
    found = []
    for efficiency in EFFICIENCIES:
        for control in CONTROLS:
            numbers = {**device.numbers, "fit.efficiency": float(efficiency), "fit.control_cycles": control}
            own = replace(device, numbers=numbers)
            errors = [np.log(1 / design(point.work, own, tiles).seconds / point.fps) for point in fitted]
            found.append((float(np.square(errors).sum()), float(efficiency), control))
    least, efficiency, control = min(found)
    print(f"efficiency = {efficiency:.2f}\ncontrol_cycles = {control}\n# squared error {least:.4f}")


def engine(chosen: argparse.Namespace) -> None:
    """The table of five layers on the engine."""
    rows = [simulate(shape) for shape in SHAPES]
    lines = [
        [
            f"{row.shape[0]}×{row.shape[1]}",
            str(row.shape[2]),
            str(row.shape[3]),
            "all equal" if row.equal else "DIFFERENT",
            f"{row.cycles:,}",
            f"{row.modelled:,.0f}",
            f"{row.error:+.2%}",
        ]
        for row in rows
    ]
    heads = ["activations", "rows of 4 bits", "of 8 bits", "bytes", "cycles", "modelled", "error"]
    result = {"simulator": simulator(), "rows": [asdict(row) for row in rows]}
    reporting.publish(chosen, "quasar-engine", markdown(heads, lines), result, file="engine")


def arms(chosen: argparse.Namespace, sizes: Sizes) -> None:
    """The table of precisions for three ways of training."""
    space = load_space(Path("tiny.toml"))
    data = data_of(chosen.arms, space, sizes.batch, chosen.held)
    found = precision_rows(space, data, sizes)
    lines = [
        [way, name, f"{row['bits']:.2f}", f"{row['inherited']:.1%}", f"{row['fine-tuned']:.1%}"]
        for way, part in found.items()
        for name, row in part["rows"].items()
    ]
    text = f"{described(data, sizes)}\n\n" + markdown(
        ["supernet", "precision", "mean bits", "inherited", "fine-tuned"], lines
    )
    reporting.publish(chosen, "quasar-arms", text, {"sizes": vars(sizes), "arms": found}, file="arms")


def search(chosen: argparse.Namespace, sizes: Sizes) -> None:
    """The tables of guides and of ranks."""
    space = load_space(Path("tiny.toml"))
    data = data_of(chosen.search, space, sizes.batch, chosen.held)
    begun = time.process_time()
    net = trained(space, data, sizes)
    guides, ranks = guide_rows(space, data, net, sizes), rank_rows(space, data, net, sizes)
    lines = []
    for guide, rows in guides["guides"].items():
        right, ms = [row["accuracy"] for row in rows], [row["ms"] for row in rows]
        between = f"{min(right):.1%} to {max(right):.1%}"
        lines.append([guide, f"{np.mean(right):.1%}", between, f"{np.mean(ms):.3f}"])
    spent, count = time.process_time() - begun, sizes.population * sizes.generations
    text = (
        f"{described(data, sizes)} Limit {guides['limit ms']:.3f} ms (modelled, zcu102), {sizes.seeds} seeds "
        f"of {count} candidates each; {spent:.0f} processor seconds.\n\n"
        + markdown(["guide", "inherited accuracy", "over seeds", "modelled ms"], lines)
        + f"\n\nRank correlation (Spearman) of inherited and fine-tuned accuracy of {len(ranks['pairs'])} "
        f"drawn subnets: {ranks['spearman']:.2f}."
    )
    reporting.publish(chosen, "quasar-search", text, {"sizes": vars(sizes), **guides, **ranks}, file="search")


def described(data: Any, sizes: Sizes) -> str:
    """What was trained on what."""
    return (
        f"{len(data.rows):,} pictures of 64×64 pixels, {len(data.labels):,} held out; {sizes.steps} steps of "
        f"{sizes.batch} for a supernet, {sizes.tune} for a subnet; seed 0, one thread."
    )


def reader(chosen: argparse.Namespace) -> None:
    """The table of a found head beside the shipped one, on streams of quality 60."""
    files = sorted(path for path in chosen.test.rglob("*") if path.is_file())[:: max(1, chosen.every)]
    streams = [(bifocal.encode(read_picture(path), 60), path.parent.name) for path in files]
    names = chosen.names
    rows, result = [], []
    for head in (str(chosen.reader), "imagenette"):
        loaded = Head.load(head, threads=1)
        right = np.mean([bifocal.analyse(s, head=loaded).names[0] in (n, names.get(n)) for s, n in streams])
        spent = []
        for data, _ in streams[:CALLS]:
            begun = time.process_time()
            bifocal.analyse(data, head=loaded)
            spent.append(1e3 * (time.process_time() - begun))
        size, ms = head_path(head).stat().st_size, statistics.median(spent)
        rows.append([loaded.name, f"{right:.1%}", f"{size / 1000:,.0f} kB", f"{ms:.1f} ms"])
        result.append({"head": loaded.name, "right": float(right), "bytes": size, "ms": round(ms, 3)})
    heads = ["head", "right", "bytes", "stream to label, processor time"]
    text = f"{len(streams)} pictures as streams of quality 60.\n\n" + markdown(heads, rows)
    reporting.publish(chosen, "quasar-reader", text, result, file="reader")


def main() -> None:
    """The part that is asked for."""
    parser = reporting.parser(__doc__ or "", Path(__file__).parent)
    for option in ("--published", "--calibrate", "--engine"):
        parser.add_argument(option, action="store_true")
    for option in ("--arms", "--search", "--reader", "--test"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--classes", type=Path, help="lines FOLDER<TAB>NAME, for heads that name classes")
    parser.add_argument("--every", type=int, default=1, help="every so many of the test pictures")
    parser.add_argument("--held", type=float, default=0.2, help="share of the pictures that is held out")
    for name, value in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sizes = Sizes(**{name: getattr(chosen, name) for name in vars(Sizes())})
    lines = chosen.classes.read_text().splitlines() if chosen.classes else []
    chosen.names = dict(line.split("\t")[:2] for line in lines)
    if chosen.published:
        published(chosen)
    if chosen.calibrate:
        calibrate()
    if chosen.engine:
        engine(chosen)
    if chosen.arms:
        arms(chosen, sizes)
    if chosen.search:
        search(chosen, sizes)
    if chosen.reader:
        reader(chosen)


if __name__ == "__main__":
    reporting.run(main)
