"""What ``bifocal encode --captions`` says of pictures and captions that have no counterpart."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

SHOWN = 3


def report_unmatched(captions: Path, sources: Collection[str], *, whole: bool) -> None:
    """Say which of these files have no caption; with ``whole``, also which names match no file."""
    from bifocal.pictures.captions import CaptionFile

    listed = CaptionFile.read(captions)
    without = [source for source in sources if listed.of(source) is None]
    if without:
        _say(without, "picture has", "pictures have", f"no caption in {captions}")
    if whole and (unused := listed.without_file(sources)):
        _say(unused, f"name in {captions} matches", f"names in {captions} match", "no picture")


def _say(names: list[str], one: str, many: str, what: str) -> None:
    shown = ", ".join(ascii(name)[1:-1] if not name.isprintable() else name for name in names[:SHOWN])
    more = ", …" if len(names) > SHOWN else ""
    print(f"bifocal: {len(names)} {one if len(names) == 1 else many} {what}: {shown}{more}.", file=sys.stderr)
