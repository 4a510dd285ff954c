"""``bifocal decode``: streams to pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bifocal.apps.cli.many import Errors, Jobs, Resume, Shard, run_many


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
    backend: Annotated[
        str | None,
        typer.Option(
            help="What computes the pixels, such as openvino; `bifocal doctor` lists all.",
            show_default="onnxruntime",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(help="Only this part: LEFT,TOP,RIGHT,BOTTOM in pixels.", show_default="everything"),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Size of the result: 1, or 1/2, 1/4, 1/8 or 1/16 of the full one.")
    ] = "1",
    jobs: Jobs = 1,
    resume: Resume = False,
    shard: Shard = "1/1",
    errors: Errors = None,
    force: Annotated[bool, typer.Option("--force", help="Replace pictures that exist already.")] = False,
) -> None:
    """Decode .bfc streams to pictures."""
    from bifocal.apps.batch import Worker
    from bifocal.runtime.decoding import read_box, read_scale
    from bifocal.runtime.engines.float_engines import check_backend

    options: dict[str, Any] = {}  # keyword arguments of bifocal.decode_file
    if backend is not None:
        options["backend"] = check_backend(backend)  # said once, not for every file
    if box is not None:
        options["box"] = read_box(box)
    if (fraction := read_scale(scale)) != 1:
        options["scale"] = float(fraction)
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
