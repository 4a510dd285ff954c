"""Labelled pictures: a folder per class, checked before anything is computed from them.

What cannot be trained on at all is a :class:`TrainingError`; what can be left out is left out, with a warning
that counts it, because nobody's collection of pictures is clean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bifocal.errors import BifocalError, TrainingError
from bifocal.pictures.formats import is_picture_name
from bifocal.pictures.reading import read_picture
from bifocal.storage.paths import is_stream_name

#: As many classes as a packed head may have.
MOST_CLASSES = 10_000


@dataclass(frozen=True, eq=False)
class Labelled:
    """Files and what they show: ``labels`` int64 ``[n]`` are indices into ``classes``, -1 for no label.

    ``warnings`` are sentences for people: what was left out, counted.
    """

    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    warnings: tuple[str, ...] = ()

    def without(self, reasons: Mapping[str, Sequence[int]]) -> Labelled:
        """These without some files: ``reasons`` maps why to their indices.

        Each reason becomes a warning that counts them and names the first.

        :raises TrainingError: if a class is left with fewer than two files.
        """
        bad = sorted({row for rows in reasons.values() for row in rows})
        if not bad:
            return self
        kept = np.setdiff1d(np.arange(len(self.files)), bad)
        warnings = [
            f"{len(rows)} left out, {why}: {self.files[rows[0]]}" + " …" * (len(rows) > 1)
            for why, rows in reasons.items()
            if rows
        ]
        files = tuple(self.files[i] for i in kept)
        found = replace(self, files=files, labels=self.labels[kept], warnings=(*self.warnings, *warnings))
        _check_counts(found)
        return found


def find_labelled(folder: Path, *, names: Path | None = None, streams: bool = False) -> Labelled:
    """The pictures of ``folder``, one subfolder a class; with ``streams``, its ``.bfc`` files as well.

    Classes come in the order of their folders' names. Files with the same content count once; the same file
    in two classes is in neither. ``names`` is a text file of lines ``FOLDER<TAB>NAME`` for folders whose
    classes have better names. Only names and bytes are looked at here; nothing is decoded.

    :raises TrainingError: if there are fewer than two classes, a class has fewer than two different files,
        or the names are unreadable or not distinct.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder. Give a folder that has one subfolder for each class.")
    called = {} if names is None else _read_names(names)
    subfolders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    listed = {subfolder: _files(subfolder, streams) for subfolder in subfolders}
    empty = [subfolder.name for subfolder, files in listed.items() if not files]
    listed = {subfolder: files for subfolder, files in listed.items() if files}
    classes = tuple(called.get(subfolder.name, subfolder.name) for subfolder in listed)
    _check_classes(folder, names, classes, "pictures or .bfc files" if streams else "pictures")
    files = tuple(file for found in listed.values() for file in found)
    labels = np.repeat(np.arange(len(listed), dtype=np.int64), [len(found) for found in listed.values()])
    warnings = (f"{len(empty)} folders without pictures: {', '.join(empty[:3])}",) if empty else ()
    found = Labelled(classes, files, labels, warnings)
    _check_counts(found)
    return found.without(_duplicates(found))


def labelled_as(found: Labelled, classes: tuple[str, ...]) -> Labelled:
    """The same pictures, labelled by the ``classes`` of a head.

    :raises TrainingError: if a class is none of those.
    """
    foreign = [name for name in found.classes if name not in classes]
    if foreign:
        raise TrainingError(
            f"the test pictures have class {foreign[0]!r}, which is none of those that are trained: "
            f"{', '.join(classes[:5])}{', …' * (len(classes) > 5)}. Take its folder out, or name it alike "
            "with --names."
        )
    number = np.array([classes.index(name) for name in found.classes], np.int64)
    return replace(found, classes=classes, labels=number[found.labels])


def find_unlabelled(folder: Path) -> Labelled:
    """The pictures and ``.bfc`` files below ``folder``, each content once; no class and no label.

    :raises TrainingError: if there are fewer than two.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder. Give a folder of pictures or of .bfc files.")
    files = tuple(_files(folder, True))
    found = Labelled((), files, np.full(len(files), -1, np.int64))
    found = found.without(
        {
            "the same content as another file": _duplicates(found)[
                "the same content as another file of the class"
            ]
        }
    )
    if len(found.files) < 2:
        raise TrainingError(
            f"{folder} has {len(found.files)} pictures or .bfc files; training needs two or more."
        )
    return found


def with_unlabelled(labelled: Labelled, more: Labelled) -> Labelled:
    """Files with a label, then files without."""
    labels = np.concatenate([labelled.labels, more.labels])
    return Labelled(labelled.classes, labelled.files + more.files, labels, labelled.warnings + more.warnings)


def _check_classes(folder: Path, names: Path | None, classes: tuple[str, ...], kinds: str) -> None:
    if len(classes) < 2:
        raise TrainingError(
            f"{folder} has {len(classes)} subfolder{'s' * (len(classes) != 1)} with {kinds}; a classifier "
            "needs at least two classes. Put the pictures of each class into a subfolder of its own."
        )
    unfit = [name for name, count in Counter(classes).items() if count > 1 or not name.strip()]
    if unfit:
        raise TrainingError(f"{names}: {unfit[0]!r} cannot name a class: each needs its own name, not empty.")
    if len(classes) > MOST_CLASSES:
        raise TrainingError(f"{folder} has {len(classes)} classes; a head has at most {MOST_CLASSES}.")


def split(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows to validate on: of each class about ``share``, at least one of each.

    >>> train, held = split(np.array([0] * 10 + [1] * 2), 0.2, seed=0)
    >>> len(train), len(held)
    (9, 3)
    """
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held.append(rows[: min(max(1, round(share * len(rows))), len(rows) - 1)])
    validation = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def load_squares(labelled: Labelled, side: int) -> tuple[Labelled, NDArray[np.uint8]]:
    """The middle square of every picture, scaled to ``side``: uint8 ``[n, side, side, 3]``.

    Unreadable pictures are left out of both results, and counted in the warnings.

    :raises TrainingError: if a class is left with fewer than two pictures.
    """
    made, bad = [], []
    for row, file in enumerate(labelled.files):
        pixels = read_rgb(file)
        if pixels is None:
            bad.append(row)
            continue
        h, w = pixels.shape[:2]
        edge = min(h, w)
        left, top = (w - edge) // 2, (h - edge) // 2
        square = Image.fromarray(pixels[top : top + edge, left : left + edge])
        made.append(np.asarray(square.resize((side, side), Image.Resampling.LANCZOS)))
    return labelled.without({"unreadable": bad}), np.stack(made)


def read_rgb(file: Path) -> NDArray[np.uint8] | None:
    """Pixels uint8 ``[h, w, 3]`` of a picture, transparent ones included; None if it cannot be read."""
    try:
        pixels = read_picture(file).pixels
    except (BifocalError, OSError):
        return None
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _files(folder: Path, streams: bool) -> list[Path]:
    return sorted(
        p
        for p in folder.rglob("*")
        if (is_picture_name(p) or (streams and is_stream_name(p))) and p.is_file() and p.name[0] != "."
    )


def _read_names(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {folder: name.strip() for folder, name in (line.split("\t") for line in lines if line.strip())}
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be read as names of classes ({error}). Write lines FOLDER<TAB>NAME, in UTF-8."
        ) from error


def _duplicates(found: Labelled) -> dict[str, list[int]]:
    """Rows of files that repeat one of their own class, and of files that two classes have."""
    rows: dict[bytes, list[int]] = {}
    for row, file in enumerate(found.files):
        try:
            digest = blake2b(file.read_bytes(), digest_size=16).digest()
        except OSError:
            continue  # whoever decodes it will count it as unreadable
        rows.setdefault(digest, []).append(row)
    same: list[int] = []
    contradicting: list[int] = []
    for group in rows.values():
        if len({int(found.labels[i]) for i in group}) > 1:
            contradicting += group
        else:
            same += group[1:]
    return {
        "the same content as another file of the class": sorted(same),
        "the same content under two classes": sorted(contradicting),
    }


def _check_counts(found: Labelled) -> None:
    counts = np.bincount(found.labels[found.labels >= 0], minlength=len(found.classes))
    few = [name for name, count in zip(found.classes, counts, strict=True) if count < 2]
    if few:
        raise TrainingError(
            f"class {few[0]!r} has {counts[found.classes.index(few[0])]} usable pictures; each class needs "
            "at least two, one to train on and one to validate on. Add pictures, or remove the folder."
            + (f" So do {len(few) - 1} others: {', '.join(few[1:4])}." if len(few) > 1 else "")
            + "".join(f" ({warning})" for warning in found.warnings)
        )
