"""Three ways to write down boxes: COCO JSON, YOLO text files, and the folder of VEDAI.

Each reader gives what stands in the files, in one form; whether it can be trained on is decided once, in
``learn/data/detection/dataset.py``. What contradicts itself is a :class:`TrainingError` here already.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bifocal.errors import TrainingError
from bifocal.pictures.formats import is_picture_name

#: Classes of VEDAI by their numbers, and those that the benchmark leaves out.
VEDAI_CLASSES: Mapping[int, str] = {
    1: "car",
    2: "truck",
    4: "tractor",
    5: "camping",
    7: "motorcycle",
    8: "bus",
    9: "van",
    10: "other",
    11: "pickup",
    23: "boat",
    31: "plane",
}
VEDAI_LEFT_OUT = ("motorcycle", "bus", "plane")
#: Fields of a line of VEDAI: number of the picture, centre, angle, four x, four y, class.
_VEDAI_FIELDS = 13
#: A JSON of annotations may have so many bytes.
_MOST_JSON = 1 << 30


class WrittenBox(NamedTuple):
    """A box as it is written: left, top, right, bottom in pixels, or in shares of the sides if ``relative``.

    ``crowd`` marks a region with objects that are not told apart.
    """

    name: str
    corners: tuple[float, float, float, float]
    relative: bool = False
    crowd: bool = False


@dataclass
class WrittenPicture:
    """A picture as it is listed, with its infrared file and the size that is declared, if they are."""

    file: Path
    infrared: Path | None = None
    size: tuple[int, int] | None = None
    boxes: list[WrittenBox] = field(default_factory=list)


class Written(NamedTuple):
    """A data set as it is written: names of classes, pictures, and sentences on what is odd."""

    classes: tuple[str, ...]
    pictures: list[WrittenPicture]
    warnings: list[str]


def read_written(path: Path, *, fold: str = "") -> Written:
    """Read a data set: a COCO JSON, a folder with one, a YOLO folder, or a VEDAI folder.

    ``fold`` names a list of pictures of VEDAI, such as ``fold01`` or ``fold01test``.

    :raises TrainingError: if it is none of these, or contradicts itself.
    """
    if path.is_file():
        return read_coco(path)
    if not path.is_dir():
        raise TrainingError(f"{path} is not there. Give a COCO JSON file, or a folder with a data set.")
    if (path / "annotations.json").is_file():
        return read_coco(path / "annotations.json")
    if (path / "labels").is_dir() and (path / "images").is_dir():
        return read_yolo(path)
    if found := sorted(path.glob("**/annotation*.txt")):
        return read_vedai(path, found[-1], fold)
    raise TrainingError(
        f"{path} holds no data set that is known: no annotations.json (COCO), no folders images and labels "
        "(YOLO), and no annotation512.txt (VEDAI). Name the JSON file if it is called otherwise."
    )


# -- COCO ----------------------------------------------------------------------------------------------------


def read_coco(path: Path) -> Written:
    """Read a COCO JSON. ``ir_file_name`` of a picture names its infrared file.

    :raises TrainingError: if it is no such JSON, numbers are used twice, or an annotation names a picture or
        class that is not there.
    """
    content = _json(path)
    lists = {name: content.get(name) for name in ("images", "annotations", "categories")}
    for name, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise TrainingError(
                f"{path} has no list '{name}': it is not a COCO file of objects. It needs images, "
                "annotations and categories."
            )
    images, rows, kinds = lists["images"], lists["annotations"], lists["categories"]
    assert images is not None and rows is not None and kinds is not None
    names = _categories(path, kinds)
    pictures = _images(path, images)
    warnings = _repeated_annotations(rows)
    without = 0
    for row in rows:
        picture, kind = pictures.get(_key(row.get("image_id"))), names.get(_key(row.get("category_id")))
        if picture is None or kind is None:
            what = "picture" if picture is None else "class"
            number = row.get("image_id" if picture is None else "category_id")
            raise TrainingError(
                f"{path}: annotation {row.get('id')} is of {what} {number!r}, which is not listed. Add it to "
                f"{'images' if picture is None else 'categories'}, or take the annotation out."
            )
        if "bbox" not in row:
            without += 1
            continue
        x, y, w, h = _numbers(row["bbox"], 4, f"{path}: bbox of annotation {row.get('id')}")
        picture.boxes.append(WrittenBox(kind, (x, y, x + w, y + h), False, bool(row.get("iscrowd", 0))))
    if without:
        warnings.append(f"{without} annotations have no bbox and are left out")
    return Written(tuple(names.values()), list(pictures.values()), warnings)


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_JSON:
            raise TrainingError(f"{path} has more than {_MOST_JSON} bytes. Split the data set.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read as JSON ({error}). Give a COCO file.") from error
    if not isinstance(content, dict):
        raise TrainingError(f"{path} holds no JSON object: it is not a COCO file.")
    return content


def _categories(path: Path, kinds: Sequence[Mapping[str, Any]]) -> dict[object, str]:
    names = [kind.get("name") for kind in kinds]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise TrainingError(f"{path} has a category without a name. Name every one.")
    _refuse_repeated(path, "categories", [_key(kind.get("id")) for kind in kinds])
    _refuse_repeated(path, "names of categories", names)
    return {_key(kind.get("id")): str(kind["name"]) for kind in kinds}


def _images(path: Path, images: Sequence[Mapping[str, Any]]) -> dict[object, WrittenPicture]:
    _refuse_repeated(path, "images", [_key(image.get("id")) for image in images])
    _refuse_repeated(path, "file names", [_key(image.get("file_name")) for image in images])
    found: dict[object, WrittenPicture] = {}
    for image in images:
        name, infrared = image.get("file_name"), image.get("ir_file_name")
        if not isinstance(name, str) or not (infrared is None or isinstance(infrared, str)):
            raise TrainingError(f"{path}: image {image.get('id')} has no file_name that is text.")
        size = (image.get("width"), image.get("height"))
        declared = (size[0], size[1]) if isinstance(size[0], int) and isinstance(size[1], int) else None
        found[_key(image.get("id"))] = WrittenPicture(
            _beside(path, name), None if infrared is None else _beside(path, infrared), declared
        )
    return found


def _repeated_annotations(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = Counter(_key(row.get("id")) for row in rows if row.get("id") is not None)
    twice = sum(count - 1 for count in counts.values())
    return (
        [f"{twice} annotations have the number of another one; their numbers are not used"] if twice else []
    )


def _refuse_repeated(path: Path, what: str, keys: Sequence[object]) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise TrainingError(
            f"{path} uses {len(twice)} of its {what} more than once, such as {twice[0]!r}: which one an "
            "annotation means cannot be known. Give each its own."
        )


def _key(value: object) -> object:
    """A number of JSON that can be looked up, whatever it is."""
    return value if isinstance(value, int | str | None) else repr(value)


def _beside(path: Path, name: str) -> Path:
    plain = path.parent / name
    return (
        plain
        if plain.exists() or not (path.parent / "images" / name).exists()
        else plain.parent / "images" / name
    )


def _numbers(value: object, count: int, what: str) -> tuple[float, ...]:
    fits = isinstance(value, list) and len(value) == count
    if not fits or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in value):  # type: ignore[attr-defined]
        raise TrainingError(f"{what} is {str(value)[:60]}, not {count} numbers.")
    return tuple(float(n) for n in value)  # type: ignore[attr-defined]


# -- YOLO ----------------------------------------------------------------------------------------------------


def read_yolo(folder: Path) -> Written:
    """Read ``images/**/NAME.*``, ``labels/**/NAME.txt`` and, if there is one, ``infrared/**/NAME.*``.

    A line of a label file is ``CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT``, in shares of the sides. Names of
    classes are those of ``classes.txt`` or of ``names`` in a YAML file.

    :raises TrainingError: if a line is none, or a class has no name.
    """
    names = _yolo_names(folder)
    infrared = {p.relative_to(folder / "infrared").with_suffix(""): p for p in _pictures(folder / "infrared")}
    pictures, numbers = [], set()
    unlabelled = 0
    for file in _pictures(folder / "images"):
        stem = file.relative_to(folder / "images").with_suffix("")
        label = folder / "labels" / stem.parent / f"{stem.name}.txt"
        rows = _yolo_rows(label) if label.is_file() else []
        unlabelled += not label.is_file()
        numbers |= {number for number, _ in rows}
        boxes = [(number, WrittenBox("", corners, True)) for number, corners in rows]
        found = WrittenPicture(file, infrared.get(stem))
        found.boxes = [box._replace(name=_yolo_name(names, number, label)) for number, box in boxes]
        pictures.append(found)
    if not pictures:
        raise TrainingError(f"{folder / 'images'} holds no pictures.")
    classes = names or tuple(f"class {number}" for number in range(max(numbers, default=0) + 1))
    warnings = [] if names else ["classes have no names: there is no classes.txt"]
    if unlabelled:
        warnings.append(f"{unlabelled} pictures have no label file: they count as pictures without objects")
    return Written(classes, pictures, warnings)


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and is_picture_name(p) and p.name[0] != ".")


def _yolo_names(folder: Path) -> tuple[str, ...]:
    plain = folder / "classes.txt"
    if plain.is_file():
        return tuple(line.strip() for line in plain.read_text(encoding="utf-8").splitlines() if line.strip())
    for path in sorted(folder.glob("*.y*ml")):
        text = path.read_text(encoding="utf-8")
        if inline := re.search(r"^names:\s*\[(.*?)\]", text, re.M | re.S):
            return tuple(name.strip().strip("'\"") for name in inline[1].split(",") if name.strip())
        if block := re.search(r"^names:\s*\n((?:[ \t]*(?:-|\d+:).*\n?)+)", text, re.M):
            rows = re.findall(r"(?:-|\d+:)\s*(.+)", block[1])
            return tuple(row.strip().strip("'\"") for row in rows)
    return ()


def _yolo_name(names: tuple[str, ...], number: int, label: Path) -> str:
    if names and number >= len(names):
        raise TrainingError(
            f"{label} has an object of class {number}, and there are names of {len(names)} classes only, "
            "counted from 0. Add the name, or correct the number."
        )
    return names[number] if names else f"class {number}"


def _yolo_rows(label: Path) -> list[tuple[int, tuple[float, float, float, float]]]:
    rows = []
    for number, line in enumerate(_lines(label), 1):
        parts = line.split()
        try:
            kind, (x, y, w, h) = int(parts[0]), map(float, parts[1:])
        except (ValueError, IndexError):
            kind, x, y, w, h = -1, 0.0, 0.0, 0.0, 0.0
        if not 0 <= kind < 10_000:
            raise TrainingError(f"{label}, line {number}: {line[:60]!r} is not CLASS X Y WIDTH HEIGHT.")
        rows.append((kind, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as text ({error}).") from error


# -- VEDAI ---------------------------------------------------------------------------------------------------


def read_vedai(folder: Path, annotations: Path, fold: str = "") -> Written:
    """Read the folder of VEDAI: pictures ``NUMBER_co.png`` and ``NUMBER_ir.png``, and one list of oriented
    boxes, of which each becomes the upright box around its corners.

    :raises TrainingError: if a line is none, has a class that VEDAI does not know, or a picture is missing.
    """
    files = {file.name[:-7]: file for file in sorted(folder.rglob("*_co.png"))}
    wanted = _vedai_fold(folder, fold) if fold else set(files)
    pictures = {
        number: WrittenPicture(file, file.with_name(f"{number}_ir.png"))
        for number, file in files.items()
        if number in wanted
    }
    if not pictures:
        raise TrainingError(f"{folder} holds no pictures NUMBER_co.png. Unpack those of VEDAI there.")
    absent: set[str] = set()
    for row, line in enumerate(_lines(annotations), 1):
        parts = line.split()
        try:
            numbers = [float(part) for part in parts[:_VEDAI_FIELDS]]
            kind = VEDAI_CLASSES[int(numbers[12])]
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise TrainingError(
                f"{annotations}, line {row}: {line[:60]!r} is not NUMBER X Y ANGLE, four x, four y and a "
                "class of VEDAI."
            ) from error
        if not all(map(math.isfinite, numbers)):
            raise TrainingError(f"{annotations}, line {row}: a number is not finite.")
        number = parts[0].split(".")[0].zfill(8)
        xs, ys = numbers[4:8], numbers[8:12]
        if number in pictures:
            pictures[number].boxes.append(WrittenBox(kind, (min(xs), min(ys), max(xs), max(ys))))
        elif number in wanted or number not in files:
            absent.add(number)
    classes = tuple(name for name in VEDAI_CLASSES.values() if name not in VEDAI_LEFT_OUT)
    warnings = [f"{len(absent)} annotated pictures are not there"] if absent else []
    for picture in pictures.values():
        picture.boxes = [box for box in picture.boxes if box.name in classes]
    return Written(classes, list(pictures.values()), warnings)


def _vedai_fold(folder: Path, fold: str) -> set[str]:
    found = sorted(folder.rglob(f"{fold}.txt"))
    if not found:
        known = sorted({path.stem for path in folder.rglob("fold*.txt")})
        raise TrainingError(f"{folder} has no list {fold}.txt. There are: {', '.join(known) or 'none'}.")
    return {line.split(".")[0].strip().zfill(8) for line in _lines(found[0])}
