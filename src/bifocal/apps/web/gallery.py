"""The pictures and streams of a folder: rows for the page, thumbnails, search, and what converting saves.

The page names a file by its number, never by a path.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from PIL import Image

import bifocal
from bifocal.apps.batch.kinds import PICTURES, STREAMS
from bifocal.apps.web.pictures import Tools, middle_window, plain
from bifocal.errors import BifocalError, OptionError, PictureError
from bifocal.pictures.reading import read_picture
from bifocal.storage.folders import LeftOut, search
from bifocal.storage.paths import is_stream_name
from bifocal.stream.limits import Limits

#: Rows of one answer, and files whose captions are read for a search.
ROWS, SEARCHED = 60, 5000
#: Pictures that the savings are estimated from, and the side of a thumbnail.
SAMPLED, SIDE = 6, 160


@dataclass(frozen=True)
class Entry:
    """A file of the gallery: its path, and its name for people."""

    path: str
    name: str


class Gallery:
    """The files of some folders, or some files; ``entries`` never change while the page is open."""

    def __init__(self, inputs: Sequence[str], tools: Tools) -> None:
        self._tools = tools
        self.entries = tuple(_find(inputs))
        self.thumbnail = lru_cache(maxsize=512)(self._thumbnail)
        self._row = lru_cache(maxsize=SEARCHED)(self._made_row)

    def rows(self, first: int, wanted: str) -> dict[str, Any]:
        """Rows from number ``first`` on, of all files or of those that have ``wanted`` in name or caption."""
        words = wanted.casefold().split()
        numbers = [k for k in range(len(self.entries)) if not words or self._matches(k, words)]
        shown = numbers[first : first + ROWS]
        return {"total": len(numbers), "first": first, "rows": [self._row(k) for k in shown]}

    def read(self, number: int) -> tuple[str, bytes]:
        """The name and the bytes of a file, no more than the limits allow.

        :raises BifocalError: if it is gone, or too large.
        """
        entry, most = self._entry(number), self._tools.limits.stream_bytes
        with open(entry.path, "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise PictureError(f"{entry.name} is larger than {most:,} bytes; it is not opened here.")
        return entry.name, data

    def savings(self, quality: int) -> dict[str, Any]:
        """What converting the pictures would save, estimated from a few: our bits per pixel of a window of
        each against those of its file."""
        pictures = [k for k, entry in enumerate(self.entries) if not _is_stream(entry)]
        step = max(1, -(-len(pictures) // SAMPLED))
        theirs = ours = 0.0
        used = 0
        for number in pictures[::step]:
            try:
                picture = read_picture(self.entries[number].path, max_pixels=self._tools.limits.pixels)
                left, top, right, bottom = middle_window(picture.width, picture.height)
                part = picture.pixels[top:bottom, left:right]
                data = bifocal.encode(part, quality=quality, model=self._tools.model)
                size = os.path.getsize(self.entries[number].path)
            except (BifocalError, OSError):
                continue
            share = part.shape[0] * part.shape[1] / (picture.width * picture.height)
            theirs, ours, used = theirs + size, ours + len(data) / share, used + 1
        total = sum(_size(self.entries[k]) for k in pictures)
        saved = total * (1 - ours / theirs) if theirs else 0.0
        return {"pictures": len(pictures), "bytes": total, "saved": round(saved), "sampled": used}

    def _entry(self, number: int) -> Entry:
        if not 0 <= number < len(self.entries):
            raise OptionError(f"there is no file number {number}.")
        return self.entries[number]

    def _matches(self, number: int, words: Sequence[str]) -> bool:
        text = self.entries[number].name
        if len(self.entries) <= SEARCHED:
            text += " " + str(self._row(number).get("caption", ""))
        return all(word in text.casefold() for word in words)

    def _made_row(self, number: int) -> dict[str, Any]:
        """What is known of a file from its header; what is wrong with it is in the row."""
        entry = self.entries[number]
        row: dict[str, Any] = {"number": number, "name": plain(entry.name), "bytes": _size(entry)}
        try:
            if _is_stream(entry):
                with open(entry.path, "rb") as file:
                    about = bifocal.info(file, limits=self._tools.limits)
                row |= {"width": about.width, "height": about.height, "stream": True}
                row |= {"about": f"quality {about.quality}, {about.model or 'a model that is not installed'}"}
                row |= {"caption": plain(about.caption.text if about.caption else "")}
            else:
                with Image.open(entry.path) as image:
                    row |= {"width": image.width, "height": image.height, "about": str(image.format)}
                    row |= {"caption": plain(_file_caption(entry.path, image.info))}
        except Exception as error:  # whatever the file is, the others are shown
            row["error"] = plain(" ".join(str(error).splitlines())[:300])
        return row

    def _thumbnail(self, number: int) -> bytes:
        """A small PNG: of a stream from the low band alone, of a picture scaled down.

        :raises BifocalError: if the file cannot be read.
        """
        entry = self._entry(number)
        limits = self._tools.limits
        if _is_stream(entry):
            _, data = self.read(number)
            about = bifocal.info(data, limits=limits)
            small = max(about.width, about.height) <= 16 * SIDE // 4
            scale = "1/4" if small else "1/16"
            picture = bifocal.decode(data, scale=scale, **self._tools.options(data))
            image = bifocal.to_pillow(picture)
        else:
            image = _small(entry.path, limits)
        image = image.convert("RGB")
        image.thumbnail((SIDE * 2, SIDE * 2))
        made = io.BytesIO()
        image.save(made, "PNG")
        return made.getvalue()


def _small(path: str, limits: Limits) -> Image.Image:
    return bifocal.to_pillow(read_picture(path, max_pixels=limits.pixels))


def _find(inputs: Sequence[str]) -> list[Entry]:
    found: list[Entry] = []
    for path in inputs:
        if os.path.isdir(path):
            left_out = LeftOut()
            names = sorted({*search(path, PICTURES, left_out), *search(path, STREAMS, left_out)})
            found += [Entry(os.path.join(path, name), name) for name in names]
        elif os.path.exists(path):
            found.append(Entry(path, os.path.basename(path)))
        else:
            raise OptionError(f"{path} does not exist. Check the spelling.")
    return found


def _is_stream(entry: Entry) -> bool:
    return is_stream_name(PurePath(entry.path))


def _size(entry: Entry) -> int:
    try:
        return os.path.getsize(entry.path)
    except OSError:
        return 0


def _file_caption(path: str, info: Mapping[Any, Any]) -> str:
    """The caption that a picture file has of itself, in XMP, EXIF or IPTC."""
    from bifocal.pictures.captions import caption_of_file

    metadata = {key: info[key] for key in ("exif", "xmp") if isinstance(info.get(key), bytes)}
    caption = caption_of_file(path, metadata)
    return "" if caption is None else caption.text
