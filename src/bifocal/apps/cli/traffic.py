"""``bifocal traffic``: what a network's activations cost in memory traffic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bifocal.apps.cli.options import Force

Network = Annotated[
    str,
    typer.Argument(
        help="An installed model, the folder of a packed one, or an ONNX file.", show_default=False
    ),
]
Data = Annotated[
    Path,
    typer.Option(help="A picture, a folder of them, or an .npz file of inputs.", show_default=False),
]


def traffic(
    network: Network,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the report.")] = Path(
        "traffic-report"
    ),
    coders: Annotated[
        str, typer.Option(help="all, or some of raw,plain,sparse,symmetric,gaussian,zstd,lz4.")
    ] = "all",
    quantiser: Annotated[
        str,
        typer.Option(
            help="minmax (as published), power (steps are powers of two), channel (one for each channel), "
            "or search (steps that --loss allows)."
        ),
    ] = "minmax",
    bits: Annotated[int, typer.Option(help="Bits of an activation, 1 to 15; not for search.")] = 8,
    loss: Annotated[
        float, typer.Option(help="With search: what the mean squared error may grow by, in dB.")
    ] = 0.1,
    quality: Annotated[int, typer.Option(help="Of our models: the quality, 1 to 100.")] = 60,
    scale: Annotated[
        str,
        typer.Option(help="Of ONNX files: pixels become unit (0 to 1), byte (0 to 255) or imagenet."),
    ] = "unit",
    transforms: Annotated[
        bool,
        typer.Option("--transforms", help="Decorrelate channels by 1×1 products, which count."),
    ] = False,
    limit: Annotated[int, typer.Option(help="At most so many pictures, the first ones.")] = 24,
    dram: Annotated[float, typer.Option(help="Energy of DRAM in pJ a bit.")] = 20.0,
    force: Force = False,
) -> None:
    """Write every activation of a network by real coders, read it back, and report bytes, energy and loss."""
    from bifocal.errors import OptionError, OutputError

    if limit < 1 or not 0 < dram < 1e6:
        raise OptionError(f"--limit is {limit} and --dram {dram:g}; both are above 0.")
    from bifocal.hardware.cost import coders as coding
    from bifocal.hardware.cost.constants import Energy, Memory
    from bifocal.hardware.cost.report import check_folder, write_report
    from bifocal.measure.traffic import Options, run_traffic

    chosen = coding.find_coders(coders)
    try:
        check_folder(out, overwrite=force)
    except OutputError as error:
        raise OptionError(str(error)) from error  # nothing was tried
    options = Options(chosen, quantiser, bits, loss, quality, scale, transforms, limit)
    results = run_traffic(network, data, options, notify=_notify)
    facts = {"network": network, "data": str(data), **options.facts()}
    write_report(out, results, Memory(), Energy(dram=dram), facts, overwrite=force)
    for result in results:
        print(_line(result))
    print(f"report    {out / 'report.html'}")


def _notify(sentence: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{sentence}", end="", file=sys.stderr, flush=True)


def _line(result: Any) -> str:
    """What was found of a network, in a line."""
    from bifocal.hardware.cost.page import best_coder, title_of

    found, best = result.traffic, best_coder(result.traffic)
    ratio = found.activations("float32") / max(1, found.activations(best))
    quality = "; ".join(f"{q.what} {q.before:.4g} → {q.after:.4g}" for q in result.quality)
    return (
        f"{result.name}: {found.activations(best) / 2**20:,.2f} MiB of activations in place of "
        f"{found.activations('float32') / 2**20:,.2f} ({ratio:.1f}× less, {found.bits(best):.2f} bits "
        f"each) by "
        f"{title_of(best)}; {quality}"
    )
