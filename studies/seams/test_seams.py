"""Borders of tiles are compared with the same pixels coded untiled, on the tiny model."""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from bifocal.runtime.model import Model
from studies.seams import run as seams
from tests.conftest import made_picture


def test_the_band_lies_along_borders_only() -> None:
    band = seams.border_band(130, 200, 64)
    assert band[:, 56:72].all() and band[56:72].all() and band[:, 120:136].all() and band[:, 184:200].all()
    assert not band[:56, :56].any() and not band[72:120, 72:120].any()
    assert not seams.border_band(64, 64, 64).any()


def test_seams_are_measured(tiny_model: Model) -> None:
    found = seams.measure("a", made_picture(130, 200), (64, 128, 256), tiny_model)
    assert [(seam.quality, seam.tile) for seam in found] == [(q, t) for q in (30, 60, 90) for t in (64, 128)]
    assert all(seam.bytes_tiled > seam.bytes_whole for seam in found)
    assert "nan" not in seams.table(found)


def test_the_page_shows_the_results() -> None:
    folder = Path(__file__).parent
    found = [seams.Seam(**seam) for seam in reporting.read_json(folder / "results.json")["seams"]]
    assert seams.table(found) in reporting.shown(folder / "README.md", "seams")
