"""``bifocal encode``: pictures to streams."""

from __future__ import annotations

from bifocal.apps.cli import options
from bifocal.apps.cli.convert import Conversion, convert


def encode(
    inputs: options.Pictures,
    output: options.Output = None,
    quality: options.Quality = None,
    size: options.Size = None,
    psnr: options.Psnr = None,
    effort: options.Effort = 1,
    quality_map: options.QualityMap = None,
    strip: options.Strip = None,
    lossless: options.Lossless = None,
    model: options.Model = None,
    tile: options.Tile = 2048,
    max_pixels: options.MaxPixels = None,
    strict: options.Strict = False,
    keep_suffix: options.KeepSuffix = False,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    resume: options.Resume = False,
    shard: options.Shard = "1/1",
    errors: options.Errors = None,
    force: options.Force = False,
) -> None:
    """Encode pictures as .bfc streams."""
    given = {
        "quality": quality,
        "size": size,
        "psnr": psnr,
        "effort": effort,
        "quality_map": quality_map,
        "strip": [name for text in strip or () for name in text.split(",")] or None,
        "lossless": lossless,
        "tile": tile,
        "max_pixels": max_pixels,
        "strict": strict or None,
    }
    convert(
        Conversion(
            "encode",
            inputs,
            output,
            {name: value for name, value in given.items() if value is not None},
            suffix=".bfc",
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
