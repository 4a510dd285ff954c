"""``bifocal decode``: streams to pictures."""

from __future__ import annotations

from bifocal.apps.cli import options
from bifocal.apps.cli.convert import convert_files


def decode(
    inputs: options.Streams,
    output: options.Output = None,
    picture_format: options.Format = None,
    box: options.Box = None,
    scale: options.Scale = "1",
    model: options.StreamModel = None,
    backend: options.Backend = None,
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
    from bifocal.runtime.decoding import check_scale, read_box

    given = {
        "box": None if box is None else read_box(box),
        "scale": None if scale == "1" else 1 / check_scale(scale),
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
