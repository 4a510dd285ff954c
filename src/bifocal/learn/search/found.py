"""What a search leaves: the Pareto front as CSV and as a page, and each winner as a TOML file."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from bifocal.errors import TrainingError
from bifocal.hardware.pages.drawing import scatter
from bifocal.hardware.pages.html import document, listing, rows, section
from bifocal.learn.search.costs import CostModel
from bifocal.learn.search.evolution import Candidate, pareto
from bifocal.learn.search.space import Subnet, as_subnet
from bifocal.learn.search.workload import average_bits, weight_bytes
from bifocal.storage.filesystem import write_atomically


@dataclass(frozen=True)
class Winner:
    """The configuration of a found subnet: of which space (its digest), which data (a digest, too), and from
    which supernet's file."""

    subnet: Subnet
    space: str
    data: str
    supernet: Path
    facts: Mapping[str, Any]


def row_of(one: Candidate, costs: CostModel) -> dict[str, Any]:
    """What is known of a candidate, as plain values."""
    work = costs.work(one.subnet)
    row: dict[str, Any] = {
        "latency_ms": round(1e3 * one.cost.seconds, 5),
        "accuracy": round(one.accuracy, 5),
        "mega_macs": round(one.cost.macs / 1e6, 4),
        "bits": round(average_bits(work), 3),
        "weight_bytes": weight_bytes(work),
    }
    if one.cost.tiles is not None and one.cost.resources is not None:
        row |= {f"tile_{name}": value for name, value in asdict(one.cost.tiles).items()}
        row |= {name: round(value) for name, value in asdict(one.cost.resources).items()}
    return row


def write_winner(
    path: Path, one: Candidate, costs: CostModel, supernet: Path, data: str, facts: Mapping[str, Any]
) -> None:
    """Write a winner as TOML, for ``bifocal-train finetune``."""
    how = "measured" if costs.device.measured else "modelled"
    lines = [
        f"# A subnet found by bifocal-train search; latency is {how}, accuracy that of inherited weights.",
        f"space = {json.dumps(costs.space.digest)}",
        f"data = {json.dumps(data)}",
        f"supernet = {json.dumps(str(supernet))}",
        "",
        "[subnet]",
        *(f"{name} = {json.dumps(value)}" for name, value in asdict(one.subnet).items()),
        "",
        "[facts]",
        f"device = {json.dumps(costs.device.name)}",
        *(f"{name} = {json.dumps(value)}" for name, value in {**row_of(one, costs), **facts}.items()),
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode(), overwrite=True)


def read_winner(path: Path) -> Winner:
    """Read what :func:`write_winner` wrote.

    :raises TrainingError: if it cannot be read, or is something else.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        subnet = as_subnet(table["subnet"])
        names = str(table["space"]), str(table["data"])
        return Winner(subnet, *names, Path(table["supernet"]), dict(table.get("facts", {})))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is no subnet of bifocal-train search ({error}). Search again, or give one of its files."
        ) from error


def write_front(
    folder: Path, found: Sequence[Candidate], chosen: Mapping[str, Candidate], costs: CostModel, note: str
) -> list[Candidate]:
    """Write ``pareto.csv`` and ``pareto.html`` of all evaluated candidates; returns the front.

    ``chosen`` are the winners by limit; ``note`` says how far latencies can be trusted.
    """
    front = pareto(list(found))
    out = io.StringIO()
    writer: Any = None
    for one in front:
        row = {**row_of(one, costs), "subnet": one.subnet.key}
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    write_atomically(folder / "pareto.csv", out.getvalue().encode(), overwrite=True)
    page = _page(found, front, chosen, costs, note)
    write_atomically(folder / "pareto.html", page.encode(), overwrite=True)
    return front


def _page(
    found: Sequence[Candidate],
    front: Sequence[Candidate],
    chosen: Mapping[str, Candidate],
    costs: CostModel,
    note: str,
) -> str:
    how = "measured" if costs.device.measured else "modelled"
    on_front = {one.subnet.key for one in front}
    dots = [
        (
            1e3 * one.cost.seconds,
            one.accuracy,
            "one" if one.subnet.key in on_front else "quiet",
            f"{one.accuracy:.1%}, {1e3 * one.cost.seconds:.3g} ms: {one.subnet.key}",
        )
        for one in sorted(found, key=lambda one: one.subnet.key in on_front)
    ]
    picture = scatter(dots, x_label=f"latency in ms ({how})", y_label="accuracy of inherited weights")
    heads = ["limit", "accuracy", f"latency, {how}", "M multiply–adds", "bits", "weights"]
    table = [
        [
            limit.removesuffix(".toml"),
            f"{one.accuracy:.1%}",
            f"{row['latency_ms']:.3g} ms",
            f"{row['mega_macs']:.1f}",
            f"{row['bits']:.2f}",
            f"{row['weight_bytes'] / 1000:.0f} kB",
        ]
        for limit, one in chosen.items()
        for row in [row_of(one, costs)]
    ]
    provenance = [("space", costs.space.name), ("device", costs.device.name)]
    parts = [
        f"<h1>Transformers for {escape(costs.device.name)}</h1>",
        f"<p class='sub'>{len(found):,} subnets of space {escape(costs.space.name)} were evaluated with "
        f"inherited weights. Latency: {escape(note)}.</p>",
        section("Accuracy over latency", "Blue is the Pareto front.", picture),
        section("Winners", "The fittest subnet within each limit.", rows(heads, table)),
        section(
            "Provenance",
            "What was searched.",
            listing(provenance),
        ),
    ]
    return document("Architecture search", parts)
