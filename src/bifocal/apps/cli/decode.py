"""``bifocal decode``: streams to pictures."""

from __future__ import annotations

from bifocal.apps.cli import options
from bifocal.apps.cli.convert import Conversion, convert


def decode(
    inputs: options.Streams,
    output: options.Output = None,
    picture_format: options.Format = None,
    box: options.Box = None,
    scale: options.Scale = "1",
    model: options.StreamModel = None,
    backend: options.Backend = None,
    max_pixels: options.MaxPixels = None,
    keep_suffix: options.KeepSuffix = False,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    resume: options.Resume = False,
    shard: options.Shard = "1/1",
    errors: options.Errors = None,
    force: options.Force = False,
) -> None:
    """Decode .bfc streams to pictures."""
    from bifocal.runtime.decoding import read_box
    from bifocal.stream.limits import Limits

    given = {
        "box": None if box is None else read_box(box),
        "scale": None if scale == "1" else scale,
        "backend": backend,
        "limits": None if max_pixels is None else Limits(pixels=max_pixels),
        "format": picture_format,
    }
    convert(
        Conversion(
            "decode",
            inputs,
            output,
            {name: value for name, value in given.items() if value is not None},
            suffix=f".{(picture_format or 'png').lstrip('.')}",
            model=model,
            jobs=jobs,
            threads=threads,
            resume=resume,
            shard=shard,
            errors=errors,
            keep_suffix=keep_suffix,
            force=force,
        )
    )
