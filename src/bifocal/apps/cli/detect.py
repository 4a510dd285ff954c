"""``bifocal detect``: where objects are, in pictures and streams."""

from __future__ import annotations

import glob
import json as documents
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.outputs import check_document, write_document

if TYPE_CHECKING:
    from bifocal.runtime.heads.run import Head


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
    from bifocal.errors import BifocalError
    from bifocal.runtime.heads.run import loaded_head

    head = loaded_head(detector)
    check_document(json, force)
    files = list(_files(inputs))
    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
    out = sys.stderr if str(json) in options.OUTPUT_NAMES else sys.stdout
    rows: list[dict[str, Any]] = []
    failed = 0
    for file in files:
        try:
            row = _detect(file, head, _beside(file, infrared), at_least, model, draw, force)
        except (BifocalError, OSError) as error:
            failed += 1
            print(f"{file}: {error}", file=sys.stderr)
            rows.append({"file": str(file), "error": str(error)})
            continue
        print(f"{file}  {row.pop('summary')}", file=out)
        rows.append(row)
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
        bifocal.write_picture(boxes.draw(shown), draw / f"{file.name}.png", overwrite=force)
    size = {"width": boxes.width, "height": boxes.height}
    return {"file": str(file), **size, "boxes": boxes.rows(), "summary": repr(boxes)[6:-1]}


def _files(inputs: Sequence[str]) -> Iterator[Path]:
    """The pictures and streams that are named, and those in folders that are.

    :raises OptionError: if there is none.
    """
    from bifocal.errors import OptionError
    from bifocal.pictures.formats import is_picture_name
    from bifocal.storage.paths import is_stream_name

    found = False
    for path in map(Path, inputs):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file == path or (file.is_file() and (is_picture_name(file) or is_stream_name(file))):
                found = True
                yield file
    if not found:
        raise OptionError(f"there are no pictures or streams in {', '.join(inputs)}. Name some.")


def _beside(file: Path, folder: Path | None) -> Path | None:
    """The infrared picture of a file: one of its name, whatever the suffix, in a folder.

    :raises PictureError: if it is not there.
    """
    from bifocal.errors import PictureError
    from bifocal.pictures.formats import is_picture_name

    if folder is None:
        return None
    called = (path for path in folder.glob(f"{glob.escape(file.stem)}.*") if path != file)
    found = sorted(filter(is_picture_name, called))
    if not found:
        raise PictureError(f"there is no infrared picture called {file.stem} in {folder}. Give each its own.")
    return found[0]
