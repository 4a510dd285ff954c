"""Data sets of pictures with boxes, checked before anything is trained on them.

What cannot be trained on is a :class:`TrainingError`; what can be left out is left out, with a warning that
counts it. Pictures are decoded once for the check, and kept in memory up to a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import BifocalError, OptionError, TrainingError
from bifocal.learn.data.detection.formats import WrittenPicture, read_written
from bifocal.pictures.reading import read_picture

#: Kinds of pictures, in the order of a detector's channels, and how many channels each has.
MODALITIES = {"rgb": 3, "ir": 1}
#: Bytes of decoded pictures that are kept in memory; the others are decoded again when they are used.
KEPT_BYTES = 1 << 30
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Annotated:
    """A picture with boxes: float32 ``[n, 4]`` left, top, right, bottom in pixels, ``labels`` int64 ``[n]``.

    ``ignored`` ``[m, 4]`` are regions where nothing is learned or judged: crowds.
    """

    file: Path
    infrared: Path | None
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.float32]


class DetectionSet:
    """Pictures with boxes of ``classes``; ``warnings`` are sentences on what was left out, counted."""

    def __init__(
        self,
        classes: tuple[str, ...],
        pictures: tuple[Annotated, ...],
        modalities: tuple[str, ...],
        warnings: tuple[str, ...] = (),
        kept: dict[Path, Pixels] | None = None,
    ) -> None:
        self.classes, self.pictures, self.modalities, self.warnings = classes, pictures, modalities, warnings
        self._kept = {} if kept is None else kept

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def objects(self) -> int:
        """How many boxes there are."""
        return sum(len(picture.boxes) for picture in self.pictures)

    def pixels(self, number: int) -> Pixels:
        """uint8 ``[h, w, c]``: 3 channels of colour, one of infrared, or both in this order."""
        picture = self.pictures[number]
        found = self._kept.get(picture.file)
        return read_channels(picture, self.modalities) if found is None else found

    def part(self, numbers: Iterable[int]) -> DetectionSet:
        """Some of the pictures, with the same classes and without the warnings."""
        chosen = tuple(self.pictures[number] for number in numbers)
        return DetectionSet(self.classes, chosen, self.modalities, (), self._kept)


def parse_modalities(text: str) -> tuple[str, ...]:
    """``rgb``, ``ir`` or ``rgb,ir``.

    :raises OptionError: if it is none of them.

    >>> parse_modalities("ir, rgb")
    ('rgb', 'ir')
    """
    named = [name.strip() for name in text.split(",")]
    if not named or set(named) - set(MODALITIES) or len(set(named)) < len(named):
        raise OptionError(f"modalities are {text!r}; they have to be rgb, ir or rgb,ir.")
    return tuple(name for name in MODALITIES if name in named)


def find_detection(
    path: Path,
    modalities: tuple[str, ...] = ("rgb",),
    *,
    ignore: Sequence[str] = (),
    fold: str = "",
    classes: tuple[str, ...] | None = None,
) -> DetectionSet:
    """Read a data set and check everything about it, every picture included.

    :param ignore: classes whose boxes become regions where nothing is learned or judged.
    :param fold: a list of pictures of VEDAI.
    :param classes: those of the detector, for a data set that is judged on: names have to be among them.
    :raises TrainingError: if it cannot be trained on; the message says what is wrong and how often.
    """
    written = read_written(path, fold=fold)
    unknown = [name for name in ignore if name not in written.classes]
    if unknown:
        raise TrainingError(
            f"{path} has no class {unknown[0]!r} to ignore. It has {', '.join(written.classes[:20])}."
        )
    check = _Check(path, modalities, tuple(n for n in written.classes if n not in ignore), classes)
    pictures = [found for picture in written.pictures if (found := check.picture(picture)) is not None]
    warnings = [*written.warnings, *check.finish(pictures)]
    return DetectionSet(check.classes, tuple(pictures), modalities, tuple(warnings), check.kept)


class _Check:
    """Goes through the pictures of a data set and counts what is wrong with each."""

    def __init__(
        self, path: Path, modalities: tuple[str, ...], named: tuple[str, ...], classes: tuple[str, ...] | None
    ) -> None:
        self.path, self.modalities, self.named = path, modalities, named
        self.classes = named if classes is None else classes
        self.kept: dict[Path, Pixels] = {}
        self._bytes = 0
        self._faults: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def picture(self, written: WrittenPicture) -> Annotated | None:
        """A picture with the boxes that can be used; None if something is wrong with its files."""
        taken = self._files(written)
        if taken is None:
            return None
        pixels = self._pixels(taken)
        if pixels is None:
            return None
        height, width = pixels.shape[:2]
        if written.size not in (None, (width, height)):
            self._fault("have another size than is declared", f"{written.file}, {width}×{height} pixels")
            return None
        boxes, labels, ignored = self._boxes(written, width, height)
        self._count("pictures are not square: they are cropped and padded, never stretched", width != height)
        self._count("pictures have no objects: all of them is background", not len(boxes))
        return replace(taken, width=width, height=height, boxes=boxes, labels=labels, ignored=ignored)

    def _files(self, written: WrittenPicture) -> Annotated | None:
        empty = np.zeros((0, 4), np.float32)
        infrared = written.infrared
        if "ir" in self.modalities and infrared is None and "rgb" not in self.modalities:
            self._count("pictures name no infrared file: the picture itself is taken for infrared", True)
            infrared = written.file
        if "ir" in self.modalities and infrared is None:
            self._fault("name no infrared file (ir_file_name)", str(written.file))
            return None
        for file in (written.file if "rgb" in self.modalities else None, infrared):
            if file is not None and "ir" not in self.modalities and file == infrared:
                continue
            if file is not None and not file.is_file():
                self._fault("are not there", str(file))
                return None
        return Annotated(written.file, infrared, 0, 0, empty, np.zeros(0, np.int64), empty)

    def _pixels(self, taken: Annotated) -> Pixels | None:
        try:
            pixels = read_channels(taken, self.modalities)
        except (BifocalError, OSError) as error:
            self._fault("cannot be used", f"{taken.file}: {error}")
            return None
        if self._bytes + pixels.nbytes <= KEPT_BYTES:
            self.kept[taken.file] = pixels
            self._bytes += pixels.nbytes
        return pixels

    def _boxes(
        self, written: WrittenPicture, width: int, height: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        kept, labels, ignored = [], [], []
        for box in written.boxes:
            sides = np.array([width, height] * 2 if box.relative else [1.0] * 4)
            corners = np.array(box.corners) * sides
            if not np.isfinite(corners).all() or min(corners[2:] - corners[:2]) <= 0:
                self._count("boxes are empty, or not of finite numbers, and are left out", True)
                continue
            inside = np.clip(corners, 0, [width, height] * 2)
            if min(inside[2:] - inside[:2]) < 1:
                self._count("boxes lie outside of their picture and are left out", True)
                continue
            self._count(
                "boxes reach beyond their picture and are cut at its edge", bool((inside != corners).any())
            )
            if box.crowd or box.name not in self.named:
                self._count("boxes are crowds or of ignored classes: nothing is learned there", True)
                ignored.append(inside)
            elif box.name not in self.classes:
                self._fault("have objects of an unknown class", f"{box.name!r} in {written.file}")
            else:
                kept.append(inside)
                labels.append(self.classes.index(box.name))
        return _corners(kept), np.array(labels, np.int64), _corners(ignored)

    def _count(self, what: str, true: bool) -> None:
        if true:
            self._counts[what] = self._counts.get(what, 0) + 1

    def _fault(self, what: str, first: str) -> None:
        self._faults.setdefault(what, []).append(first)

    def finish(self, pictures: Sequence[Annotated]) -> list[str]:
        """The warnings.

        :raises TrainingError: if a picture is at fault, or there is nothing to learn.
        """
        if self._faults:
            found = "; ".join(
                f"{len(each)} pictures {what}, the first: {each[0]}" for what, each in self._faults.items()
            )
            raise TrainingError(
                f"{self.path} cannot be used: {found.rstrip('.')}. Correct them, or take them out."
            )
        counts = np.zeros(len(self.classes), np.int64)
        for picture in pictures:
            counts += np.bincount(picture.labels, minlength=len(counts))
        if not counts.sum():
            raise TrainingError(
                f"{self.path} has no objects in {len(pictures)} pictures: nothing can be learned."
            )
        none = [name for name, count in zip(self.classes, counts, strict=True) if not count]
        warnings = [f"{count} {what}" for what, count in self._counts.items()]
        return warnings + ([f"{len(none)} classes have no objects: {', '.join(none[:5])}"] if none else [])


def _corners(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def read_channels(picture: Annotated, modalities: tuple[str, ...]) -> Pixels:
    """The channels of a picture and of its infrared, uint8 ``[h, w, c]``.

    :raises PictureError: if a file cannot be read, has 16 bits, or both have not one size.
    """
    planes = []
    if "rgb" in modalities:
        pixels = read_picture(picture.file, strict=True).pixels
        planes.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))
    if "ir" in modalities:
        assert picture.infrared is not None
        planes.append(as_infrared(read_picture(picture.infrared, strict=True).pixels))
    if len(planes) == 2 and planes[0].shape[:2] != planes[1].shape[:2]:
        (h, w), (rows, columns) = (plane.shape[:2] for plane in planes)
        raise TrainingError(f"the picture has {w}×{h} pixels and its infrared {columns}×{rows}")
    return np.ascontiguousarray(np.concatenate(planes, axis=2))


def as_infrared(pixels: Pixels) -> Pixels:
    """``[h, w, 1]`` of a gray picture, or of one that is stored as three channels: the first of them."""
    return pixels[..., None] if pixels.ndim == 2 else pixels[..., :1]


def split(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of pictures to train on and to judge on, at least one of each.

    :raises TrainingError: if there are fewer than two pictures.

    >>> split(4, 0.25, 0)
    ([0, 1, 3], [2])
    """
    if count < 2:
        raise TrainingError(
            "a data set of one picture cannot be split. Add pictures, or name others with --val."
        )
    held = min(max(1, round(share * count)), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return sorted(order[held:].tolist()), sorted(order[:held].tolist())
