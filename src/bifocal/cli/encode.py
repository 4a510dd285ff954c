"""``bifocal encode``: pictures to streams."""

from __future__ import annotations

from typing import Annotated

import typer

from bifocal.cli.many import Errors, Jobs, Resume, Shard, run_many


def encode(
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, or folders of them; URLs too.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option("--out", "--output", "-o", help="The stream to write, or a folder for several."),
    ] = None,
    quality: Annotated[
        int, typer.Option("--quality", "-q", min=1, max=100, help="1 smallest, 100 best.")
    ] = 60,
    model: Annotated[
        str, typer.Option(help="An installed model, or the folder of a packed one.")
    ] = "lowfirst",
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 64.")] = 2048,
    jobs: Jobs = 1,
    resume: Resume = False,
    shard: Shard = "1/1",
    errors: Errors = None,
    force: Annotated[bool, typer.Option("--force", help="Replace streams that exist already.")] = False,
) -> None:
    """Encode pictures as .bfc streams."""
    from bifocal.batch import Worker

    options = {"quality": quality, "tile": tile}  # keyword arguments of bifocal.encode_file
    run_many(
        Worker("encode", options, model=model),
        inputs,
        output,
        replace=force,
        jobs=jobs,
        resume=resume,
        shard=shard,
        errors=errors,
    )
