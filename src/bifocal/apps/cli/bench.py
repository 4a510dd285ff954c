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
    analyse: Annotated[
        bool,
        typer.Option("--analyse", help="Time instead: picture, labels, both, and decoding to classify."),
    ] = False,
    head: Annotated[str, typer.Option(help="With --analyse: a shipped head, or a .bfh file.")] = "imagenette",
    against: Annotated[
        str | None,
        typer.Option(
            help="With --analyse: the .bfh of a classifier that reads pixels.",
            show_default="our analysis network and the same head",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="With --analyse: times that each is done.")] = 5,
) -> None:
    """Measure size, PSNR, MS-SSIM and time on pictures; or how long answers take from a stream's bytes."""
    import dataclasses
    import sys

    from bifocal.measure.bench import Row, run_bench, summarise, write_csv
    from bifocal.measure.peers import available_peers, bifocal_codec
    from bifocal.measure.report import table

    curve = _qualities(qualities)
    if analyse:
        from bifocal.measure.modes import mode_table, time_modes

        timings = time_modes(
            inputs,
            head=head,
            against=against,
            model=model,
            backend=backend,
            qualities=curve or (60,),
            repeats=repeats,
        )
        print(mode_table(timings))
        if csv is not None:
            write_csv(csv, timings)
        return
    ours = bifocal_codec(model, backend)
    if curve:
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


def _qualities(text: str) -> tuple[int, ...]:
    from bifocal.errors import OptionError

    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise OptionError(f"--qualities is '{text}'; give whole numbers such as 10,50,90.") from error
