"""``bifocal bench``: Bifocal and its peers on a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", show_default=False)],
    qualities: Annotated[
        str,
        typer.Option("--qualities", "-q", help="Bifocal's qualities, such as 10,50,90.", show_default=False),
    ] = "",
    peers: Annotated[str, typer.Option(help="Codecs to compare with, or 'none'.")] = "jpeg,webp,avif",
    model: Annotated[
        str | None, typer.Option(help="An installed model, or the folder of a packed one.")
    ] = None,
    backend: Annotated[
        str, typer.Option(help="What computes the pixels when Bifocal decodes; see `bifocal doctor`.")
    ] = "onnxruntime",
    csv: Annotated[Path | None, typer.Option(help="Write every row to this file, too.")] = None,
) -> None:
    """Measure size, PSNR, MS-SSIM and time on pictures."""
    import dataclasses
    import sys

    from bifocal.errors import OptionError
    from bifocal.measure.bench import Row, run_bench, summarise, write_csv
    from bifocal.measure.peers import available_peers, bifocal_codec
    from bifocal.measure.report import table

    ours = bifocal_codec(model, backend)
    if qualities:
        try:
            curve = tuple(int(part) for part in qualities.split(","))
        except ValueError as error:
            raise OptionError(
                f"--qualities is '{qualities}'; give whole numbers such as 10,50,90."
            ) from error
        ours = dataclasses.replace(ours, curve=curve)
    others, missing = available_peers([] if peers == "none" else peers.split(","))
    for sentence in missing:
        print(sentence, file=sys.stderr)

    def show(row: Row) -> None:
        if sys.stderr.isatty():
            line = f"{row.picture}  {row.codec} {row.quality}  {row.bpp:.3f} bpp  {row.psnr:.2f} dB"
            print(f"\r\033[K{line[:78]}", end="", file=sys.stderr, flush=True)

    rows = run_bench(inputs, [ours, *others], on_row=show)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(table(summarise(rows)))
    if csv is not None:
        write_csv(csv, rows)
