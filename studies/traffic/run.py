"""What does a codec's memory traffic cost, and how small can it be made?

Measures rows one after the other and keeps them in ``results.json``, so that a stopped run goes on where it
was; ``--again`` measures rows anew. Steps and transforms are found on examples/coffee.png, never on what is
measured. The tuned rows need the checkpoints of ``studies.traffic.finetune`` (``--tuned``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reporting
from bifocal.hardware.cost.coders import available_coders, find_coders
from bifocal.hardware.cost.constants import Energy
from bifocal.hardware.cost.graph import Graph, load_graph
from bifocal.hardware.cost.measure import measure
from bifocal.hardware.cost.quantise import Steps
from bifocal.hardware.cost.result import NetworkResult, Quality, as_json, summed
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.traffic import Options, codec_traffic, network_traffic
from bifocal.measure.traffic.network import picture_feeds
from bifocal.runtime.model import DEFAULT_MODEL, Model
from studies.traffic.exact import exact_graphs

HERE = Path(__file__).parent
#: Rows of the codec without training: their options.
PLAIN: dict[str, dict[str, Any]] = {
    "8 bits, smallest to largest": {"quantiser": "minmax"},
    "8 bits, a step for each channel": {"quantiser": "channel"},
    "steps for 0.1 dB": {"quantiser": "search"},
    "steps for 0.1 dB, decorrelated": {"quantiser": "search", "transforms": True},
    "steps for 0.3 dB": {"quantiser": "search", "loss": 0.3},
}
#: Rows of decoders that were fine-tuned: the checkpoint, and whether channels are decorrelated.
TUNED: dict[str, tuple[str, bool]] = {
    "fine-tuned without penalty, for 0.3 dB": ("0", False),
    "penalty 0.0003, for 0.3 dB": ("3e-4", False),
    "penalty 0.001, for 0.3 dB": ("1e-3", False),
    "penalty 0.003, for 0.3 dB": ("3e-3", False),
    "penalty 0.001, decorrelated, for 0.3 dB": ("1e-3", True),
    "penalty 0.001, 2:4 weights, for 0.3 dB": ("1e-3-sparse", False),
}
#: What a short fine-tuning loses by itself is near 0.1 dB: these rows and one of the others have more.
TUNED_LOSS = 0.3
NOT_MEASURED = "not measured"


def tuned_synthesis(path: Path) -> Graph:
    """The decoder of a checkpoint as a graph."""
    from bifocal.learn.checkpoint import load_checkpoint
    from bifocal.learn.packing.two_path_graphs import two_path_graphs

    graph, weights = two_path_graphs(load_checkpoint(path).model())["synthesis"]
    return load_graph(graph, weights=weights, name=path.stem)


def measured(results: list[NetworkResult], seconds: float) -> dict[str, Any]:
    """A row of ``results.json``: what reports hold, without their layers."""
    found = as_json(results, Energy(), {"processor_seconds": round(seconds, 1)})
    for network in found["networks"]:
        del network["layers"]
    return found


def rows(given: argparse.Namespace) -> dict[str, Callable[[], list[NetworkResult]]]:
    """What can be measured with what is given, by the names of rows."""
    model = Model.load(given.model, threads=1)
    calibration = load_rgb(reporting.ROOT / "examples" / "coffee.png")
    coders = available_coders()

    def pictures() -> list[Pixels]:
        return [load_rgb(path) for path in find_pictures([given.kodak])[:: given.every]]

    def codec(options: Mapping[str, Any], of: Callable[[], list[Pixels]], **more: Any) -> list[NetworkResult]:
        chosen = Options(**{"coders": coders, "quality": given.quality, "threads": 1, **options})
        return codec_traffic(model, of(), chosen, calibration=calibration, **more)

    made: dict[str, Callable[[], list[NetworkResult]]] = {}
    for name, options in PLAIN.items():
        made[name] = lambda options=options: codec(options, pictures)  # type: ignore[misc]
    for name, (stem, turned) in TUNED.items():
        path = given.tuned / f"{stem}.safetensors" if given.tuned else None
        if path and path.exists():
            options = {"quantiser": "search", "transforms": turned, "loss": TUNED_LOSS}
            made[name] = lambda o=options, p=path: codec(  # type: ignore[misc]
                o, pictures, synthesis=tuned_synthesis(p)
            )
    if given.large:
        large = {"quantiser": "search", "coders": find_coders("raw,symmetric,gaussian")}
        made["large picture"] = lambda: codec(large, lambda: [enlarged(load_rgb(given.large))])
    made["exact networks"] = lambda: exact(Model.load(given.model, threads=1), calibration, given.quality)
    for path in given.onnx or ():
        made[f"network {path.stem}"] = lambda p=path: public(p)  # type: ignore[misc]
    return made


def enlarged(pixels: Pixels, side: int = 2048) -> Pixels:
    """A picture that is repeated, mirrored, up to ``side`` pixels each way: large, with real content."""
    h, w = pixels.shape[:2]
    return np.pad(pixels, ((0, max(0, side - h)), (0, max(0, side - w)), (0, 0)), mode="symmetric")


def exact(model: Model, pixels: Pixels, quality: int) -> list[NetworkResult]:
    """The networks of the entropy decoder, whose activations are integers: without loss."""
    found = []
    for graph, feeds in exact_graphs(model, pixels, quality):
        traffic = measure(graph, feeds, available_coders(), quantiser=Steps(other=1.0), threads=1)
        same = all(np.array_equal(traffic.outputs[n], a) for n, a in traffic.reference.items())
        quality_of = (Quality("outputs the same", 1.0, float(same)),)
        found.append(NetworkResult(graph.name, summed([traffic]), 1, quality_of))
    return found


def public(path: Path) -> list[NetworkResult]:
    """Anybody's network on the picture of the examples."""
    graph = load_graph(path)
    picture = [reporting.ROOT / "examples" / "coffee.png"]
    options = Options(available_coders(), threads=1)
    return [network_traffic(graph, picture_feeds(graph, picture, "imagenet"), options)]


def table(found: Mapping[str, Any], network: str) -> str:
    """A row for each way that the codec was measured, for its encoder or its decoder."""
    lines = [
        "| | coder | bits | activations MiB | less than float32 | in all | energy mJ | less | PSNR dB "
        "| bits a pixel |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = [*PLAIN, *(TUNED if network == "decoder" else {})]
    shown = False
    for name in names:
        row = next((n for n in found.get(name, {}).get("networks", []) if n["name"].endswith(network)), None)
        if row is None:
            lines.append(f"| {name} | {NOT_MEASURED} |" + " |" * 8)
            continue
        full = row["ways"]["float32"]
        ways = row["ways"] if name == "steps for 0.1 dB" else {}
        best = min((w for w in row["ways"] if w not in ("float32", "zstd", "lz4")), key=_bytes(row))
        if not shown:
            lines.append(_line("float32", "", full, full, row, False))
            shown = True
        for way in ways or ("raw", best) if name.startswith("8 bits, smallest") or ways else (best,):
            if way != "float32":
                lines.append(_line(name, way, row["ways"][way], full, row, True))
    return "\n".join(lines)


def _bytes(row: Mapping[str, Any]) -> Callable[[str], float]:
    return lambda way: float(row["ways"][way]["activation_bytes"])


def _line(name: str, way: str, cost: Any, full: Any, row: Any, coded: bool) -> str:
    quality = {q["what"]: q["coded" if coded else "float"] for q in row["quality"]}
    bits = quality.get("bits a pixel")
    cells = (
        name,
        way,
        f"{cost['bits_per_activation']:.2f}",
        f"{cost['activation_bytes'] / 2**20 / row['passes']:.2f}",
        f"{cost['less_than_float32']:.1f}×",
        f"{cost['total_less_than_float32']:.1f}×",
        f"{cost['energy_mj']['total'] / row['passes']:.2f}",
        f"{full['energy_mj']['total'] / cost['energy_mj']['total']:.1f}×",
        f"{quality['PSNR, dB']:.2f}",
        "" if bits is None else f"{bits:.4f}",
    )
    return f"| {' | '.join(cells)} |"


def others(found: Mapping[str, Any]) -> str:
    """The large picture and other people's networks."""
    lines = [
        "| network | passes | multiply–adds | activations MiB, float32 | best coder | bits | less "
        "| in all | quality |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for name, row in found.items():
        if name in PLAIN or name in TUNED:
            continue
        for network in row["networks"]:
            ways = network["ways"]
            best = min((w for w in ways if w not in ("float32", "zstd", "lz4")), key=_bytes(network))
            quality = "; ".join(
                f"{q['what']} {q['float']:.4g} → {q['coded']:.4g}" for q in network["quality"]
            )
            cells = (
                f"{network['name']}, {name}" if name == "large picture" else network["name"],
                str(network["passes"]),
                f"{network['multiply_adds'] / 1e9:.2f} G",
                f"{ways['float32']['activation_bytes'] / 2**20:.1f}",
                best,
                f"{ways[best]['bits_per_activation']:.2f}",
                f"{ways[best]['less_than_float32']:.1f}×",
                f"{ways[best]['total_less_than_float32']:.1f}×",
                quality,
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _networks(found: Mapping[str, Any], name: str) -> list[Any]:
    return list(found.get(name, {}).get("networks", []))


def tiles(found: Mapping[str, Any]) -> str:
    """The decoder in tiles on the chip."""
    measured_in = [n for name in ("large picture", "steps for 0.1 dB") for n in _networks(found, name)]
    decoder = next((n for n in measured_in if n["name"].endswith("decoder") and n["tiles"]), None)
    if decoder is None:
        return NOT_MEASURED
    full = decoder["ways"]["float32"]["total_bytes"] / decoder["passes"]
    lines = [
        "| side of a tile | MiB in all | less than float32 | products | on the chip KiB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for t in decoder["tiles"]:
        lines.append(
            f"| {t['side']} | {t['bytes'] / 2**20:.2f} | {full / t['bytes']:.1f}× | {t['recomputed']:.2f}× | "
            f"{t['sram_bytes'] / 2**10:.0f} |"
        )
    rows_of, weights = decoder["line_buffer_bytes"] / 2**10, decoder["weights_read"] / decoder["passes"]
    boundary = decoder["ways"]["raw"]["boundary_bytes"] / decoder["passes"]
    return "\n".join(lines) + (
        f"\n\nWhole rows, nothing computed twice: {rows_of:.0f} KiB of line buffers and "
        f"{weights / 2**20:.1f} MiB of weights on the chip, {(boundary + weights) / 2**20:.1f} MiB in all, "
        f"{full / (boundary + weights):.1f}× less than float32."
    )


def main() -> None:
    parser = reporting.parser(__doc__ or "", HERE)
    parser.add_argument("--kodak", type=Path, help="the folder of the Kodak pictures")
    parser.add_argument("--every", type=int, default=1, help="take every so-many-th of them")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a model or the folder of a packed one")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--tuned", type=Path, help="the folder of fine-tuned checkpoints")
    parser.add_argument("--large", type=Path, help="a picture to measure at 2048×2048")
    parser.add_argument("--onnx", type=Path, nargs="*", help="other people's networks")
    parser.add_argument("--rows", default="", help="parts of the names of rows to measure, with commas")
    parser.add_argument("--again", action="store_true", help="measure rows that are there already, too")
    given = parser.parse_args()
    path = given.out / "results.json"
    found = reporting.read_json(path)
    if given.kodak:
        for name, row in rows(given).items():
            wanted = not given.rows or any(part in name for part in given.rows.split(","))
            if not wanted or (name in found and not given.again):
                continue
            began = time.process_time()
            result = measured(row(), time.process_time() - began)
            found = {**reporting.read_json(path), name: result}
            reporting.write_json(path, found)
            print(f"{name}: {result['facts']['processor_seconds']} processor seconds", flush=True)
    texts = {
        "traffic decoder": table(found, "decoder"),
        "traffic encoder": table(found, "encoder"),
        "traffic others": others(found),
        "traffic tiles": tiles(found),
    }
    for name, text in texts.items():
        print(f"{name}\n{text}\n")
        if given.docs:
            reporting.fill(name, text)


if __name__ == "__main__":
    reporting.run(main)
