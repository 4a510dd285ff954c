"""``bifocal detect``: where objects are, in pictures and streams."""

from __future__ import annotations

import glob
import json as documents
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.launch import printable
from bifocal.apps.cli.outputs import check_document, write_document
from bifocal.errors import BifocalError, OptionError, PictureError

if TYPE_CHECKING:
    from bifocal.runtime.heads.run import Head
    from bifocal.storage.folders import LeftOut


def detect(
    inputs: options.PicturesOrStreams,
    detector: options.DetectorName,
    infrared: options.Infrared = None,
    json: options.BoxesFile = None,
    draw: options.Draw = None,
    at_least: options.LeastScore = 0.25,
    model: options.StreamModel = None,
    force: options.Force = False,
) -> None:
    """Find objects in pictures and .bfc streams, large ones part by part.

    A detector finds the classes that it was trained on, in pictures like those that it was trained on.
    """
    from bifocal.runtime.heads.run import loaded_head

    head = loaded_head(detector)
    check_document(json, force)
    files, left_out = _files(inputs)
    drawn = _drawn_names(files, draw, force) if draw is not None else {}
    out = sys.stderr if str(json) in options.OUTPUT_NAMES else sys.stdout
    rows: list[dict[str, Any]] = []
    failed = 0
    for file in files:
        try:
            row = _detect(file, head, _beside(file, infrared), at_least, model, drawn.get(file), force)
        except (BifocalError, OSError) as error:
            failed += 1
            rows.append({"file": str(file), "error": _reason(file, error)})
            print(f"bifocal: {printable(rows[-1]['error'])}", file=sys.stderr)
            continue
        print(f"{printable(str(file))}  {row.pop('summary')}", file=out)
        rows.append(row)
    if left_out.skipped.count:
        skipped = printable(str(left_out.skipped))
        print(f"bifocal: skipped, being no pictures or streams: {skipped}.", file=sys.stderr)
    found = {"detector": head.name, "classes": list(head.spec.classes), "files": rows}
    text = documents.dumps(found, indent=1, ensure_ascii=False) + "\n"
    write_document(json, text.encode(), force=force)
    if failed:
        raise typer.Exit(1)


def _detect(
    file: Path,
    head: Head,
    infrared: Path | None,
    at_least: float,
    model: str | None,
    draw: Path | None,
    force: bool,
) -> dict[str, Any]:
    """The boxes of one file as JSON takes them, and a line about them; drawn if asked for."""
    import bifocal
    from bifocal.storage.paths import is_stream_name

    boxes = bifocal.detect(file, detector=head, ir=infrared, at_least=at_least, model=model)
    if draw is not None:
        stream = is_stream_name(file)
        shown = bifocal.decode_file(file, model=model) if stream else bifocal.read_picture(file)
        draw.parent.mkdir(parents=True, exist_ok=True)
        bifocal.write_picture(boxes.draw(shown), draw, overwrite=force)
    size = {"width": boxes.width, "height": boxes.height}
    return {"file": str(file), **size, "boxes": boxes.rows(), "summary": repr(boxes)[6:-1]}


def _files(inputs: Sequence[str]) -> tuple[list[Path], LeftOut]:
    """The pictures and streams that are named, and those in folders that are; and what was left out.

    :raises OptionError: if there is none, or one does not exist.
    """
    from bifocal.apps.batch.kinds import PICTURES_AND_STREAMS
    from bifocal.storage.paths import find_files

    found, left_out = find_files(inputs, PICTURES_AND_STREAMS)
    return list(map(Path, found)), left_out


def _drawn_names(files: Sequence[Path], folder: Path, force: bool) -> dict[Path, Path]:
    """Where each file is drawn: in subfolders like its own below the folder that holds all files.

    :raises OptionError: if one exists, unless ``force``, or ``folder`` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file. Name a folder for pictures with --draw.")
    whole = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([file.parent for file in whole])
    drawn = {
        file: folder / f"{path.relative_to(common)}.png" for file, path in zip(files, whole, strict=True)
    }
    for path in drawn.values():
        check_document(path, force)
    return drawn


def _reason(file: Path, error: Exception) -> str:
    """Why a file failed, beginning with its name."""
    text = f"{error.strerror}." if isinstance(error, OSError) and error.strerror else str(error)
    return text if str(file) in text else f"{file}: {text}"


def _beside(file: Path, folder: Path | None) -> Path | None:
    """The infrared picture of a file: one of its name, whatever the suffix, in a folder.

    :raises PictureError: if it is not there.
    """
    from bifocal.pictures.formats import is_picture_name

    if folder is None:
        return None
    called = (path for path in folder.glob(f"{glob.escape(file.stem)}.*") if path != file)
    found = sorted(filter(is_picture_name, called))
    if not found:
        raise PictureError(f"there is no infrared picture called {file.stem} in {folder}. Give each its own.")
    return found[0]
