"""``bifocal decode``: streams to pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.convert import convert_files


def decode(
    inputs: options.Streams,
    output: options.Output = None,
    picture_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="png, webp, avif, ppm … whatever Pillow writes.",
            show_default="that of --out, or png",
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(help="Only this part: LEFT,TOP,RIGHT,BOTTOM in pixels.", show_default="everything"),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Size of the result: 1, or 1/2, 1/4, 1/8 or 1/16 of the full one.")
    ] = "1",
    model: options.StreamModel = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="What computes the pixels, such as openvino; `bifocal doctor` lists all.",
            show_default="onnxruntime",
        ),
    ] = None,
    max_pixels: options.MaxPixels = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    resume: options.Resume = False,
    shard: options.Shard = "1/1",
    errors: options.Errors = None,
    force: options.Force = False,
) -> None:
    """Decode .bfc streams to pictures."""
    from bifocal.apps.batch import Worker
    from bifocal.runtime.decoding import read_box, read_scale

    given = {
        "box": None if box is None else read_box(box),
        "scale": None if scale == "1" else float(read_scale(scale)),
        "backend": backend,
        "max_pixels": max_pixels,
    }
    convert_files(
        Worker("decode", {k: v for k, v in given.items() if v is not None}, model=model, threads=threads),
        inputs,
        output,
        suffix=f".{(picture_format or 'png').lstrip('.')}",
        jobs=jobs,
        resume=resume,
        shard=shard,
        errors=errors,
        force=force,
    )
