"""``bifocal encode``: pictures to streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.convert import convert_files


def encode(
    inputs: options.Pictures,
    output: options.Output = None,
    quality: Annotated[
        int | None,
        typer.Option("--quality", "-q", min=1, max=100, help="1 smallest, 100 best.", show_default="60"),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Instead: the most bytes a stream may have, such as 50kB or 1MiB.")
    ] = None,
    psnr: Annotated[
        float | None, typer.Option(help="Instead: the least PSNR of the decoded picture in dB.")
    ] = None,
    effort: Annotated[
        int,
        typer.Option(
            "--effort",
            "-e",
            min=0,
            max=9,
            help="0 fastest, 9 slowest: a better picture, by some tenths of a dB, at nearly the same bytes.",
        ),
    ] = 1,
    quality_map: Annotated[
        Path | None, typer.Option(help="A picture, white where quality matters and black where not.")
    ] = None,
    strip: Annotated[
        list[str] | None,
        typer.Option(
            "--strip",
            help="Leave out metadata: all, or any of gps, exif, xmp, icc; repeat it, or give a list with "
            "commas.",
        ),
    ] = None,
    model: options.Model = "lowfirst",
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 64.")] = 2048,
    max_pixels: options.MaxPixels = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse pictures of more than 8 bits, instead of rounding them.")
    ] = False,
    keep_suffix: Annotated[
        bool, typer.Option("--keep-suffix", help="Call results as in a.jpg.bfc: a.png may be there, too.")
    ] = False,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    resume: options.Resume = False,
    shard: options.Shard = "1/1",
    errors: options.Errors = None,
    force: options.Force = False,
) -> None:
    """Encode pictures as .bfc streams."""
    from bifocal.apps.batch import Worker

    given = {
        "quality": quality,
        "size": size,
        "psnr": psnr,
        "effort": effort,
        "quality_map": quality_map,
        "strip": [name for text in strip or () for name in text.split(",")] or None,
        "tile": tile,
        "max_pixels": max_pixels,
        "strict": strict or None,
    }
    convert_files(
        Worker("encode", {k: v for k, v in given.items() if v is not None}, model=model, threads=threads),
        inputs,
        output,
        suffix=".bfc",
        keep_suffix=keep_suffix,
        jobs=jobs,
        resume=resume,
        shard=shard,
        errors=errors,
        force=force,
    )
