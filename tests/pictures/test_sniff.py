"""Content says whether a file is a picture, whatever its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bifocal.pictures.reading import is_picture_file
from tests.promises.test_pictures_damage import FILES, png


@pytest.mark.parametrize("name", sorted(set(FILES) - {"tga"}))
def test_pictures_are_known_by_their_first_bytes(name: str, tmp_path: Path) -> None:
    (tmp_path / "no suffix").write_bytes(FILES[name])
    (tmp_path / "photo.cr2").write_bytes(FILES[name])
    assert is_picture_file(tmp_path / "no suffix") and not is_picture_file(tmp_path / "photo.cr2")


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (b"", False),
        (b"a text", False),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", False),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", True),
        (png(30_000, 30_000), True),  # too large, as reading it says
    ],
)
def test_other_files(data: bytes, known: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert is_picture_file(tmp_path / "file") is known
