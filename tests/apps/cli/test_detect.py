"""``bifocal detect``, and planes in ``bifocal encode`` and ``decode``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import bifocal
from bifocal.apps.cli.main import app
from bifocal.errors import OptionError, OutputError, PictureError
from tests.runtime.heads.test_detect import bright_detector, squares


def test_boxes_of_a_folder_go_to_json_and_are_drawn(tmp_path: Path) -> None:
    detector, folder = bright_detector(tmp_path / "a.bfd"), tmp_path / "in"
    folder.mkdir()
    pixels, corners = squares(64, 64)
    Image.fromarray(pixels).save(folder / "a.png")
    (folder / "b.bfc").write_bytes(bifocal.encode(pixels, lossless=True))
    (folder / "c.png").write_bytes(b"nothing")
    out = tmp_path / "out.json"
    asked = ["detect", str(folder), "--detector", str(detector), "--at-least", "0.5"]
    made = CliRunner().invoke(app, [*asked, "--json", str(out), "--draw", str(tmp_path / "drawn")])
    assert made.exit_code == 1 and "c.png" in made.output, made.output  # one of three cannot be read
    rows = json.loads(out.read_text())["files"]
    assert [len(row.get("boxes", [])) for row in rows] == [len(corners), len(corners), 0]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.png.png", "b.bfc.png"]


def test_content_decides_what_a_folder_holds_and_drawings_keep_its_folders(tmp_path: Path) -> None:
    detector, pixels = bright_detector(tmp_path / "a.bfd"), squares(64, 64)[0]
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "in" / name / "same", "PNG")
    (tmp_path / "in" / "text.txt").write_text("no picture")
    asked = ["detect", str(tmp_path / "in"), "--detector", str(detector), "--draw", str(tmp_path / "out")]
    made = CliRunner().invoke(app, asked)
    assert made.exit_code == 0 and "text.txt" in made.stderr, made.output
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")) == [
        "a/same.png",
        "b/same.png",
    ]
    for wrong in ([], ["--draw", str(detector)]):  # drawn already; a file
        with pytest.raises(OptionError, match="--force|is a file"):
            CliRunner().invoke(app, [*asked, *wrong], catch_exceptions=False)


def test_infrared_is_found_by_name(tmp_path: Path) -> None:
    detector = bright_detector(tmp_path / "a.bfd", 4, modalities=["rgb", "ir"])
    pixels, corners = squares(64, 64)
    (tmp_path / "ir").mkdir()
    Image.fromarray(pixels).save(tmp_path / "ir" / "a.png")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.webp", lossless=True)
    asked = ["detect", str(tmp_path / "a.webp"), "--detector", str(detector), "--at-least", "0.5"]
    made = CliRunner().invoke(app, [*asked, "--ir", str(tmp_path / "ir")])
    assert made.exit_code == 0 and f"{len(corners)} square" in made.output, made.output
    made = CliRunner().invoke(app, [*asked, "--ir", str(tmp_path)])
    assert made.exit_code == 1


def test_a_plane_goes_into_a_stream_and_out_again(tmp_path: Path) -> None:
    plane, _ = squares(48, 64)
    Image.fromarray(plane).save(tmp_path / "nir.png")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "a.png")
    stream, back = tmp_path / "a.bfc", tmp_path / "back.png"
    bifocal.encode_file(tmp_path / "a.png", stream, plane=tmp_path / "nir.png", lossless=True)
    picture = bifocal.decode_file(stream, tmp_path / "b.png", plane=back)
    assert picture.plane is not None and "plne" not in picture.metadata
    np.testing.assert_array_equal(picture.plane, plane)
    np.testing.assert_array_equal(bifocal.read_picture(back).pixels, plane)
    part = bifocal.decode(stream.read_bytes(), box=(16, 0, 48, 16))
    np.testing.assert_array_equal(part.plane, plane[:16, 16:48])
    Image.fromarray(np.zeros((48, 65), np.uint8)).save(tmp_path / "wide.png")
    with pytest.raises(PictureError, match="plane"):
        bifocal.encode_file(tmp_path / "a.png", tmp_path / "c.bfc", plane=tmp_path / "wide.png")
    (tmp_path / "plain.bfc").write_bytes(bifocal.encode(plane))
    with pytest.raises(OutputError, match="no plane"):
        bifocal.decode_file(tmp_path / "plain.bfc", plane=tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_a_plane_gets_a_folder_and_a_file_of_its_own(tmp_path: Path) -> None:
    stream, one = tmp_path / "a.bfc", str(tmp_path / "one.png")
    plane = np.zeros((16, 16), np.uint8)
    picture = bifocal.Picture(np.zeros((16, 16, 3), np.uint8), plane=plane)
    stream.write_bytes(bifocal.encode(picture, lossless=True))
    with pytest.raises(OutputError, match="cannot both become"):
        bifocal.decode_file(stream, one, plane=one)
    asked = ["decode", str(stream), "-o", one, "--plane", str(tmp_path / "new" / "plane.png")]
    made = CliRunner().invoke(app, asked)
    assert made.exit_code == 0 and (tmp_path / "new" / "plane.png").is_file(), made.output
    size = bifocal.info(stream.read_bytes()).plane
    assert size and f"plane     {size} bytes" in CliRunner().invoke(app, ["info", str(stream)]).output
