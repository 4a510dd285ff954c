"""``bifocal encode`` and ``bifocal decode``: one file by one call, many by a run of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

from bifocal.apps.cli import options
from bifocal.apps.cli.launch import printable
from bifocal.apps.cli.options import INPUT_NAMES, OUTPUT_NAMES, STANDARD

if TYPE_CHECKING:
    from bifocal.storage.paths import Pair
    from bifocal.types import Caption


@dataclass(frozen=True)
class Conversion:
    """What a command is asked to do. ``options`` are those of ``encode_file`` or ``decode_file``; results get
    ``suffix``; ``shard`` is text such as 1/4."""

    verb: Literal["encode", "decode"]
    inputs: Sequence[str]
    output: str | None
    options: Mapping[str, Any]
    suffix: str
    model: str | None
    jobs: int
    threads: int | None
    resume: bool
    shard: str
    errors: Path | None
    keep_suffix: bool
    force: bool
    engine: str = "local"
    address: str | None = None


def encode(
    inputs: options.Pictures,
    output: options.Output = None,
    quality: options.Quality = None,
    size: options.Size = None,
    psnr: options.Psnr = None,
    effort: options.Effort = None,
    quality_map: options.QualityMap = None,
    strip: options.Strip = None,
    lossless: options.Lossless = None,
    caption: options.Caption = None,
    language: options.CaptionLanguage = "",
    captions: options.Captions = None,
    caption_from_metadata: options.CaptionFromMetadata = False,
    plane: options.Plane = None,
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
    engine: options.Engine = "local",
    address: options.Address = None,
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
        "caption": _caption(caption, language),
        "captions": captions,
        "caption_from_metadata": caption_from_metadata or None,
        "plane": plane,
        "tile": tile,
        "max_pixels": max_pixels,
        "strict": strict or None,
    }
    asked = {name: value for name, value in given.items() if value is not None}
    how = (model, jobs, threads, resume, shard, errors, keep_suffix, force, engine, address)
    convert(Conversion("encode", inputs, output, asked, ".bfc", *how))


def decode(
    inputs: options.Streams,
    output: options.Output = None,
    picture_format: options.Format = None,
    box: options.Box = None,
    scale: options.Scale = "1",
    plane: options.DecodedPlane = None,
    model: options.StreamModel = None,
    backend: options.Backend = None,
    max_pixels: options.MaxPixels = None,
    keep_suffix: options.KeepSuffix = False,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    resume: options.Resume = False,
    shard: options.Shard = "1/1",
    errors: options.Errors = None,
    engine: options.Engine = "local",
    address: options.Address = None,
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
        "format": picture_format or ("png" if output and _is_nameless(output) else None),
        "plane": plane,
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
            engine=engine,
            address=address,
        )
    )


def _caption(text: str | None, language: str) -> Caption | None:
    """The caption of ``--caption`` and ``--language``.

    :raises OptionError: if there is a language alone, or the caption is none.
    """
    if text is None and not language:
        return None
    from bifocal.errors import OptionError
    from bifocal.types import Caption

    if text is None:
        raise OptionError("--language is that of --caption: give both, or write it into the --captions.")
    return Caption.of(text, language)


def convert(asked: Conversion) -> None:
    """Convert files and print what became of them.

    :raises typer.Exit: unless all is well.
    """
    many = len(asked.inputs) > 1 or asked.resume or asked.shard != "1/1" or asked.errors or asked.threads
    many = many or asked.engine != "local" or asked.address is not None
    standard = not INPUT_NAMES.isdisjoint(asked.inputs) or asked.output in OUTPUT_NAMES
    if many or standard or _is_folder(asked.inputs[0]):
        for name in ("plane", "caption"):
            if name in asked.options and asked.inputs != [STANDARD]:
                from bifocal.errors import OptionError

                more = " For many, give --captions." if name == "caption" else ""
                raise OptionError(f"--{name} goes with one picture: name one input file.{more}")
        from bifocal.apps.cli.runs import run_files

        _check_target(asked, f"result{asked.suffix}")
        run_files(asked, _line)
    else:
        _convert_file(asked)


def _is_nameless(output: str) -> bool:
    """Whether an output is a file, pipe or device whose name says no format."""
    from bifocal.storage import filesystem

    return not PurePath(output).suffix and filesystem.exists(output) and not filesystem.is_folder(output)


def _is_folder(path: str) -> bool:
    from bifocal.storage import filesystem

    return filesystem.is_folder(path)


def _convert_file(asked: Conversion) -> None:
    import bifocal
    from bifocal.storage import filesystem
    from bifocal.storage.paths import pair_file

    pair = pair_file(
        asked.inputs[0],
        asked.output,
        suffix=asked.suffix,
        keep_suffix=asked.keep_suffix,
        replace=asked.force,
    )
    _check_target(asked, pair.target)
    filesystem.make_folder(pair.target)
    if asked.verb == "decode" and "plane" in asked.options:
        filesystem.make_folder(asked.options["plane"])
    settings = {**asked.options, "overwrite": asked.force}
    if asked.model is not None:
        settings["model"] = asked.model
    if asked.verb == "encode":
        stream = bifocal.encode_file(pair.source, pair.target, **settings)
        print(_line(pair, stream.width, stream.height, stream.gray, stream.bytes))
        if "captions" in asked.options:
            from bifocal.apps.cli.captions import report_unmatched

            report_unmatched(asked.options["captions"], [pair.source], whole=False)
    else:
        picture = bifocal.decode_file(pair.source, pair.target, **settings)
        print(_line(pair, picture.width, picture.height, picture.gray))


def _check_target(asked: Conversion, target: str) -> None:
    """Refuse a name that no result can have, before any work is done.

    :raises OptionError: if it is one.
    """
    from bifocal.errors import OptionError, OutputError
    from bifocal.pictures.formats import is_picture_name

    if asked.verb == "encode":
        if PurePath(target).suffix != ".bfc" and is_picture_name(PurePath(target)):
            raise OptionError(f"{target} is named like a picture, but a stream is written. Call it .bfc.")
        return
    from bifocal.pictures.writing import format_to_write

    try:
        format_to_write(target, asked.options.get("format"))
    except OutputError as error:
        raise OptionError(str(error)) from error


def _line(pair: Pair, width: int, height: int, gray: bool, size: int = 0) -> str:
    """What became of a file: a stream of ``size`` bytes, or a picture."""
    if size:
        result = f"{size:,} bytes  {8 * size / (width * height):.3f} bpp"
    else:
        result = f"{width}×{height}{' gray' if gray else ''}"
    return f"{printable(pair.source)} → {printable(pair.target)}  {result}"
