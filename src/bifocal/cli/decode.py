"""``bifocal decode``: streams to pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bifocal.cli.many import Errors, Jobs, Resume, Shard, run_many


def decode(
    inputs: Annotated[
        list[str], typer.Argument(help="Streams, or folders of them; URLs too.", show_default=False)
    ],
    output: Annotated[
        str | None,
        typer.Option("--out", "--output", "-o", help="The picture to write, or a folder for several."),
    ] = None,
    suffix: Annotated[
        str, typer.Option("--format", help="Format where --out names none: png, webp, ppm …")
    ] = "png",
    model: Annotated[
        str | None,
        typer.Option(
            help="The folder of a packed model; by default the installed one that the stream names."
        ),
    ] = None,
    jobs: Jobs = 1,
    resume: Resume = False,
    shard: Shard = "1/1",
    errors: Errors = None,
    force: Annotated[bool, typer.Option("--force", help="Replace pictures that exist already.")] = False,
) -> None:
    """Decode .bfc streams to pictures."""
    from bifocal.batch import Worker

    options: dict[str, Any] = {}  # keyword arguments of bifocal.decode_file
    worker = Worker("decode", options, model=model)
    run_many(
        worker,
        inputs,
        output,
        replace=force,
        jobs=jobs,
        resume=resume,
        shard=shard,
        errors=errors,
        suffix=f".{suffix.lstrip('.')}",
    )
