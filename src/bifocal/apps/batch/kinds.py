"""The kinds of files that runs work on, and how they are known."""

from __future__ import annotations

from bifocal.pictures.formats import READ_SUFFIXES
from bifocal.storage.folders import FileKind


def _is_picture(path: str) -> bool:
    from bifocal.pictures.reading import is_picture_file  # most folders need it never

    return is_picture_file(path)


def _is_stream(path: str) -> bool:
    from bifocal.stream.container import MAGIC

    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


STREAMS = FileKind("streams", frozenset({".bfc"}), READ_SUFFIXES, _is_stream)
PICTURES_AND_STREAMS = FileKind("pictures or streams", READ_SUFFIXES | {".bfc"}, frozenset(), _is_picture)
PICTURES = FileKind("pictures", READ_SUFFIXES, frozenset({".bfc"}), _is_picture)
