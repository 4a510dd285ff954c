"""The bench: real bytes, rows taken over from earlier runs, means per picture first."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import PictureError
from bifocal.measure import MeasureError
from bifocal.measure.bench import (
    QUICK_AVIF,
    bench,
    curves,
    find_pictures,
    fingerprint,
    load_rgb,
    measure,
    read_json,
    run_bench,
    summarise,
    write_csv,
    write_json,
)
from bifocal.measure.metrics import psnr
from bifocal.measure.peers import available_peers, jpeg
from tests.measure.toy import row, toy_codec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, shape in (("b.png", (30, 40, 3)), ("a.png", (170, 180, 3)), ("gray.png", (20, 10))):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_a_row_holds_the_bytes_of_the_file_and_the_distance_of_what_came_back(folder: Path) -> None:
    codec, pixels = toy_codec(), load_rgb(folder / "a.png")
    r = measure(codec, pixels, 4, picture="a.png")
    data = codec.encode(pixels, 4)
    assert (r.bytes, r.width, r.height) == (len(data), 180, 170)
    assert r.bpp == 8 * len(data) / (170 * 180)
    assert r.psnr == psnr(pixels, codec.decode(data))
    assert 0.5 < r.ms_ssim < 1.0
    assert min(r.encode_seconds, r.decode_seconds) > 0.0


def test_small_pictures_have_no_ms_ssim(folder: Path) -> None:
    assert math.isnan(measure(toy_codec(), load_rgb(folder / "b.png"), 4).ms_ssim)


def test_gray_files_are_measured_as_rgb(folder: Path) -> None:
    assert load_rgb(folder / "gray.png").shape == (20, 10, 3)


def test_a_codec_that_changes_the_size_is_refused() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    wrong = dataclasses.replace(toy_codec(), decode=lambda data: pixels[:4])
    with pytest.raises(MeasureError, match="toy"):
        measure(wrong, pixels, 4)


def test_run_bench_goes_through_pictures_codecs_and_qualities_in_order(folder: Path) -> None:
    rows = list(run_bench([folder], [toy_codec("one"), toy_codec("two")]))
    assert [(r.picture, r.codec, r.quality) for r in rows] == [
        (p, c, q) for p in ("a.png", "b.png", "gray.png") for c in ("one", "two") for q in (2, 4, 6)
    ]
    only = list(run_bench([folder / "b.png"], [toy_codec()], qualities=[5]))
    assert [(r.picture, r.quality) for r in only] == [("b.png", 5)]


def test_known_rows_are_taken_over_only_for_the_same_pixels_and_settings(folder: Path) -> None:
    codec = toy_codec()
    first = list(run_bench([folder], [codec]))

    def refuse(pixels: np.ndarray, quality: int) -> bytes:
        raise AssertionError("measured again")

    again = dataclasses.replace(codec, encode=refuse)
    assert list(run_bench([folder], [again], known=first)) == first

    newer = dataclasses.replace(codec, settings="toy 2")
    remade = list(run_bench([folder], [newer], known=first))
    assert {r.settings for r in remade} == {"toy 2"}

    changed = load_rgb(folder / "b.png").copy()
    changed[0, 0, 0] ^= 1
    Image.fromarray(changed).save(folder / "b.png")
    with pytest.raises(AssertionError, match="measured again"):
        list(run_bench([folder], [again], known=first))


def test_rows_come_one_by_one(folder: Path) -> None:
    calls: list[int] = []
    codec = toy_codec()

    def encode(pixels: np.ndarray, quality: int) -> bytes:
        calls.append(quality)
        return codec.encode(pixels, quality)

    rows = run_bench([folder / "b.png"], [dataclasses.replace(codec, encode=encode)])
    assert not calls
    next(rows)
    assert calls == [2]


def test_the_bench_has_bifocal_and_its_peers_on_curves_of_their_own(folder: Path, tiny_folder: Path) -> None:
    rows = list(bench([folder / "b.png"], qualities=[10, 90], peers=["jpeg"], model=str(tiny_folder)))
    assert [r.quality for r in rows if r.codec == "bifocal"] == [10, 90]
    assert [r.quality for r in rows if r.codec == "jpeg"] == list(jpeg().curve)
    with pytest.raises(MeasureError, match="no peer called 'gif'"):
        bench([folder], peers=["gif"], model=str(tiny_folder))
    if "avif" in {codec.name for codec in available_peers()[0]}:
        (row, *_) = bench([folder / "b.png"], qualities=[10], peers=["avif"], model=str(tiny_folder))
        assert row.codec == "bifocal"
        assert "speed 6" in available_peers(["avif"], avif_speed=QUICK_AVIF)[0][0].settings


def test_means_are_of_pictures_not_of_pixels() -> None:
    rows = [row(bytes=100, psnr=30.0), row(picture="b.png", width=200, bytes=500, psnr=40.0)]
    (mean,) = summarise(rows)
    assert (mean.codec, mean.quality, mean.pictures) == ("toy", 4, 2)
    assert mean.bpp == pytest.approx((4.0 + 2.0) / 2)
    assert mean.psnr == 35.0


def test_curves_need_three_points() -> None:
    means = summarise([row(quality=q, bytes=100 * q, psnr=25.0 + q) for q in (1, 2, 3)])
    assert curves(means)["toy"].psnr == (26.0, 27.0, 28.0)
    assert curves(means[:2]) == {}
    assert curves(means, metric="ms_ssim")["toy"].psnr == pytest.approx((10.0, 10.0, 10.0))


def test_json_gives_every_row_back_and_csv_holds_them(tmp_path: Path) -> None:
    rows = [row(), row(quality=5, ms_ssim=math.nan)]
    write_json(tmp_path / "rows.json", rows)
    back = read_json(tmp_path / "rows.json")
    assert back[0] == rows[0]
    assert math.isnan(back[1].ms_ssim)
    write_csv(tmp_path / "rows.csv", rows)
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0].startswith("codec,settings,picture")
    assert lines[1].endswith(",4.000000")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv", "rows.json"]


@pytest.mark.parametrize("text", ["", "{}", '{"rows": [{"codec": "toy"}]}', '{"rows": 3}'])
def test_a_file_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(MeasureError, match="rows"):
        read_json(path)


def test_what_is_not_there_or_not_a_picture_is_refused(folder: Path) -> None:
    with pytest.raises(MeasureError, match="no "):
        find_pictures([folder / "nothing"])
    empty = folder / "empty"
    empty.mkdir()
    with pytest.raises(MeasureError, match="No pictures"):
        find_pictures([empty])
    with pytest.raises(PictureError, match="notes"):
        load_rgb(folder / "notes.txt")


def test_fingerprints_tell_shapes_and_pixels_apart() -> None:
    a = np.zeros((4, 6, 3), np.uint8)
    assert fingerprint(a) == fingerprint(a.copy())
    assert len({fingerprint(a), fingerprint(a.reshape(6, 4, 3)), fingerprint(a + 1)}) == 3
