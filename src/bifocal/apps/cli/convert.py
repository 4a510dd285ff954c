"""What ``encode`` and ``decode`` share: one file by one call of the library, many by a run of workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from bifocal.apps.cli.options import INPUT_NAMES, OUTPUT_NAMES


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


def convert(asked: Conversion) -> None:
    """Convert files and print what became of them.

    :raises typer.Exit: unless all is well.
    """
    many = len(asked.inputs) > 1 or asked.resume or asked.shard != "1/1" or asked.errors or asked.threads
    standard = not INPUT_NAMES.isdisjoint(asked.inputs) or asked.output in OUTPUT_NAMES
    if many or standard or _is_folder(asked.inputs[0]):
        from bifocal.apps.cli.runs import run_files

        run_files(asked)
    else:
        _convert_file(asked)


def _is_folder(path: str) -> bool:
    from bifocal.storage import remote

    return remote.is_folder(path)


def _convert_file(asked: Conversion) -> None:
    import bifocal
    from bifocal.storage import remote
    from bifocal.storage.paths import pair_file

    pair = pair_file(
        asked.inputs[0],
        asked.output,
        suffix=asked.suffix,
        keep_suffix=asked.keep_suffix,
        replace=asked.force,
    )
    check_target(asked, pair.target)
    remote.make_folder(pair.target)
    settings = {**asked.options, "overwrite": asked.force}
    if asked.model is not None:
        settings["model"] = asked.model
    if asked.verb == "encode":
        stream = bifocal.encode_file(pair.source, pair.target, **settings)
        print(encoded_line(pair.source, pair.target, stream.bytes, stream.width * stream.height))
    else:
        picture = bifocal.decode_file(pair.source, pair.target, **settings)
        print(decoded_line(pair.source, pair.target, picture.width, picture.height, picture.gray))


def check_target(asked: Conversion, target: str) -> None:
    """Refuse a name that no result can have, before any work is done.

    :raises OptionError: if it is one.
    """
    from bifocal.errors import OptionError, OutputError
    from bifocal.pictures.files import format_to_write, is_picture_name

    if asked.verb == "encode":
        if PurePath(target).suffix != ".bfc" and is_picture_name(PurePath(target)):
            raise OptionError(f"{target} is named like a picture, but a stream is written. Call it .bfc.")
        return
    try:
        format_to_write(target, asked.options.get("format"))
    except OutputError as error:
        raise OptionError(str(error)) from error


def encoded_line(source: str, target: str, size: int, pixels: int) -> str:
    """
    >>> encoded_line("a.png", "a.bfc", 1200, 9600)
    'a.png → a.bfc  1,200 bytes  1.000 bpp'
    """
    return f"{source} → {target}  {size:,} bytes  {8 * size / pixels:.3f} bpp"


def decoded_line(source: str, target: str, width: int, height: int, gray: bool) -> str:
    """
    >>> decoded_line("a.bfc", "a.png", 60, 40, True)
    'a.bfc → a.png  60×40 gray'
    """
    return f"{source} → {target}  {width}×{height}{' gray' if gray else ''}"
