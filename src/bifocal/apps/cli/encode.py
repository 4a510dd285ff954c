"""``bifocal encode``: pictures to streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bifocal.apps.cli.many import Errors, Jobs, Resume, Shard, run_many


def encode(
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, or folders of them; URLs too.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option("--out", "--output", "-o", help="The stream to write, or a folder for several."),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option("--quality", "-q", min=1, max=100, help="1 smallest, 100 best; 60 if nothing is said."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Instead: the most bytes a stream may have, such as 50kB or 1MiB.")
    ] = None,
    psnr: Annotated[
        float | None, typer.Option(help="Instead: the least PSNR of the decoded picture in dB.")
    ] = None,
    effort: Annotated[
        int, typer.Option("--effort", "-e", min=0, max=9, help="0 fastest, 9 fewest bits.")
    ] = 1,
    quality_map: Annotated[
        Path | None, typer.Option(help="A picture, white where quality matters and black where not.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="An installed model, or the folder of a packed one.")
    ] = "lowfirst",
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 64.")] = 2048,
    keep_suffix: Annotated[
        bool, typer.Option("--keep-suffix", help="Call results as in a.jpg.bfc: a.png may be there, too.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse pictures of more than 8 bits, instead of rounding them.")
    ] = False,
    jobs: Jobs = 1,
    resume: Resume = False,
    shard: Shard = "1/1",
    errors: Errors = None,
    force: Annotated[bool, typer.Option("--force", help="Replace streams that exist already.")] = False,
) -> None:
    """Encode pictures as .bfc streams."""
    from bifocal.apps.batch import Worker
    from bifocal.runtime.budget import check_budget

    check_budget(quality, size, psnr)  # once, not for every file
    # keyword arguments of bifocal.encode_file
    options: dict[str, Any] = {"quality": quality, "tile": tile, "effort": effort}
    given = {"size": size, "psnr": psnr, "quality_map": quality_map, "strict": strict or None}
    options |= {name: value for name, value in given.items() if value is not None}
    run_many(
        Worker("encode", options, model=model),
        inputs,
        output,
        keep_suffix=keep_suffix,
        replace=force,
        jobs=jobs,
        resume=resume,
        shard=shard,
        errors=errors,
    )
