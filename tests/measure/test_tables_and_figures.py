"""Tables, plots, comparison pictures and the demo, with codecs that need no model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bifocal.measure import MeasureError, demo, peers
from bifocal.measure.bdrate import Curve, load_anchor
from bifocal.measure.bench import summarise
from bifocal.measure.figure import Crop, Panel, busiest_crop, comparison
from bifocal.measure.plot import plot_svg
from bifocal.measure.tables import deltas, table
from tests.measure.toy import row

A = Curve("a", (0.2, 0.5, 1.0, 1.9), (29.0, 32.0, 35.0, 39.0))


def test_table_lines_up_and_marks_what_is_missing() -> None:
    lines = table(summarise([row(), row(codec="jpeg-xl", ms_ssim=float("nan"))])).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert " - " in lines[2]


def test_deltas_say_when_nothing_is_shared() -> None:
    far = Curve("far", (0.2, 0.5, 1.0), (49.0, 52.0, 55.0))
    near = Curve("near", A.bpp, tuple(p - 1 for p in A.psnr))
    rows = deltas(A, [near, far])
    assert rows[0][0] == "near" and rows[0][1].startswith("-") and rows[0][2].startswith("+1.0")
    assert rows[1] == ["far", "-", "-", "none"]


def test_plot_is_xml_with_every_curve(tmp_path: Path) -> None:
    root = ElementTree.fromstring(
        plot_svg({"a<b": A.points, "published": A.points}, title="t & t", dashed=["published"])
    )
    names = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a<b", "published", "t & t"} <= set(names)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 4


def test_an_anchor_without_a_curve_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"name": "x", "results": {"bpp": [1]}}')
    with pytest.raises(MeasureError, match=r"x\.json"):
        load_anchor(path)


def test_comparison_shows_crops_pixel_for_pixel() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 50, 80, 3), np.uint8)
    crop = Crop(10, 5, 60, 40)
    sheet = comparison([Panel(str(n), "", p) for n, p in enumerate(pictures)], crop, columns=2)
    pixels = np.asarray(sheet)
    cell, caption, margin, factor = 300, 42, 10, 5
    whole = round(50 * cell / 80)
    first = pixels[margin + caption + whole + margin :][: 40 * factor, margin : margin + cell]
    np.testing.assert_array_equal(first[::factor, ::factor], pictures[0, 5:45, 10:70])
    row_height = caption + whole + margin + 40 * factor
    assert sheet.size == (2 * (cell + margin) + margin, 2 * (row_height + margin) + margin)
    third = pixels[margin + row_height + margin + caption + whole + margin :][: 40 * factor]
    np.testing.assert_array_equal(
        third[2::factor, margin + 2 : margin + cell : factor], pictures[2, 5:45, 10:70]
    )


@pytest.mark.parametrize("crop", [Crop(-1, 0, 4, 4), Crop(0, 0, 9, 4), Crop(0, 0, 0, 4), Crop(6, 6, 4, 4)])
def test_crops_outside_the_picture_are_refused(crop: Crop) -> None:
    with pytest.raises(MeasureError, match="Crop"):
        comparison([Panel("a", "", np.zeros((8, 8, 3), np.uint8))], crop)


def test_panels_of_two_sizes_are_refused() -> None:
    panels = [Panel("a", "", np.zeros((8, n, 3), np.uint8)) for n in (8, 9)]
    with pytest.raises(MeasureError, match="size"):
        comparison(panels, Crop(0, 0, 4, 4))
    with pytest.raises(MeasureError, match="at least one"):
        comparison([], Crop(0, 0, 4, 4))


def test_the_busiest_crop_holds_the_texture_and_stays_inside() -> None:
    pixels = np.full((60, 90, 3), 200, np.uint8)
    pixels[50:60:2, 80:90] = 0
    crop = busiest_crop(pixels, 20, 15)
    assert crop.left + crop.width > 80 and crop.top + crop.height > 50
    assert crop.left + crop.width <= 90 and crop.top + crop.height <= 60
    with pytest.raises(MeasureError):
        busiest_crop(pixels, 91, 10)


def test_the_demo_prints_tables_and_writes_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = dataclasses.replace(peers.jpeg(), name="bifocal")
    monkeypatch.setattr(demo, "bifocal_codec", lambda model: stand_in)
    monkeypatch.setattr(demo, "PEERS", ("jpeg",))
    small = tmp_path / "small.png"
    with Image.open(demo.bundled_photograph()) as picture:
        assert picture.size == (600, 400)
        picture.resize((240, 170)).save(small)
    assert (
        demo.main(["--picture", str(small), "--out", str(tmp_path / "out"), "--qualities", "20", "60"]) == 0
    )
    printed = capsys.readouterr().out
    assert printed.count("MS-SSIM") == 2 and "comparison.png" in printed
    with Image.open(tmp_path / "out" / "comparison.png") as sheet:
        assert sheet.width == 3 * 310 + 10
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["comparison.png"]


def test_the_demo_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert demo.main(["--picture", str(broken)]) == 1
    assert "broken.png" in capsys.readouterr().err
