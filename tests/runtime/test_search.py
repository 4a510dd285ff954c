"""Effort: never a worse picture for the bits, the same bytes again, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import bifocal
from bifocal.errors import ModelError, OptionError
from bifocal.runtime import encoding, search
from bifocal.runtime import model as runtime_model
from bifocal.runtime.encoding import Encoder
from bifocal.runtime.model import Model
from tests.conftest import made_picture


def cost_of(pixels: np.ndarray, data: bytes, quality: int, model: Model) -> float:
    """Bits plus the price of the squared error of what the stream decodes to."""
    back = bifocal.decode(data, model=model).pixels.astype(float)
    error = np.square(back - pixels)
    error = error.sum() / (3 if pixels.ndim == 3 else 1)
    return 8 * len(data) + model.price(quality) * float(error)


@pytest.mark.parametrize("quality", [30, 80])
def test_more_effort_never_costs_more(tiny_model: Model, quality: int) -> None:
    pixels = made_picture(128, 192)
    costs = [
        cost_of(pixels, bifocal.encode(pixels, quality, model=tiny_model, effort=effort), quality, tiny_model)
        for effort in (0, 1, 2, 3, 5)
    ]
    # the search sees pixels before they are rounded to 8 bits: a hair's breadth of room
    assert all(later <= before * 1.002 for before, later in zip(costs, costs[1:], strict=False))
    assert costs[-1] < costs[0]


def test_the_gradient_search_improves_on_weighing_alone(tiny_model: Model) -> None:
    pixels = made_picture(128, 128)
    costs = [
        cost_of(pixels, bifocal.encode(pixels, 60, model=tiny_model, effort=e), 60, tiny_model)
        for e in (1, 4)
    ]
    assert costs[1] < costs[0]


@pytest.mark.parametrize("shape", [(70, 90, 3), (64, 129), (1, 1, 3), (200, 150, 3)])
@pytest.mark.parametrize("effort", [0, 1, 3])
def test_any_size_decodes_exactly_and_again(tiny_model: Model, shape: tuple[int, ...], effort: int) -> None:
    pixels = made_picture(*shape[:2])
    pixels = pixels if len(shape) == 3 else pixels[:, :, 0]
    data = bifocal.encode(pixels, 60, model=tiny_model, tile=64, effort=effort)
    assert data == bifocal.encode(pixels, 60, model=tiny_model, tile=64, effort=effort)
    assert bifocal.decode(data, model=tiny_model).pixels.shape == shape  # its checksums hold


def test_windows_of_the_adjoint_leave_no_trace(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = made_picture(256, 320)
    weight = np.ones((256, 320), np.float32)
    y = np.random.default_rng(0).integers(-40, 40, (16, 16, 20)).astype(np.int32)
    whole, gradient = search._decoded(tiny_model, y, pixels, weight, 60, gradient=True)
    plain, none = search._decoded(tiny_model, y, pixels, weight, 60, gradient=False)
    np.testing.assert_allclose(plain, whole, atol=1e-3)
    assert not none.size
    monkeypatch.setattr(search, "CORE", 64)
    monkeypatch.setitem(runtime_model.HALO, "synthesis", 16)
    parts, of_parts = search._decoded(tiny_model, y, pixels, weight, 60, gradient=True)
    np.testing.assert_allclose(parts, whole, atol=1e-2)
    np.testing.assert_allclose(of_parts, gradient, rtol=1e-3, atol=1e-2 * np.abs(gradient).max())


def test_padding_and_borders_between_tiles_do_not_count() -> None:
    weight = encoding._weight_of((128, 0, 256, 128), (130, 200), None)
    share = encoding._shares(weight, 16)
    assert share[0, 0] == 1 and share[0, 5] == np.float32(encoding.LEAST_SHARE)
    aim = search.Aim(made_picture(128, 128), weight, share, (True, False, False, True))
    counted, kept = search._blinded(aim, 16)
    assert not counted[:, 72:].any() and not counted[:, : search.BLIND].any()
    assert not counted[-search.BLIND :].any() and counted[0, 40] == 1
    assert kept[:, :4].all() and kept[-4:].all() and not kept[:4, 4:].any()


def test_a_quality_map_moves_bits(tiny_model: Model) -> None:
    pixels = made_picture(128, 256)
    weights = np.zeros((128, 256))
    weights[:, :128] = 1
    plain, mapped = (
        bifocal.encode(pixels, 70, model=tiny_model, effort=1, quality_map=chosen)
        for chosen in (None, weights)
    )
    assert len(mapped) < len(plain)
    error = [
        np.square(bifocal.decode(data, model=tiny_model).pixels.astype(float) - pixels)
        for data in (plain, mapped)
    ]
    assert error[1][:, 144:].mean() > error[0][:, 144:].mean()
    assert error[1][:, :112].mean() < 1.1 * error[0][:, :112].mean()
    at_none = bifocal.encode(pixels, 70, model=tiny_model, effort=0, quality_map=weights)
    assert at_none == mapped  # rounding alone cannot use a map


@pytest.mark.parametrize("effort", [-1, 10, 2.5, "3"])
def test_efforts_that_do_not_exist(tiny_model: Model, effort: object) -> None:
    with pytest.raises(OptionError, match="effort"):
        bifocal.encode(made_picture(8, 8), model=tiny_model, effort=effort)  # type: ignore[arg-type]


def test_a_model_without_the_adjoint_offers_less_effort(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(tiny_folder, folder)
    (folder / "adjoint.onnx").unlink()
    model, pixels = Model.load(folder, threads=1), made_picture(64, 64)
    assert bifocal.encode(pixels, model=model, effort=1)
    with pytest.raises(ModelError, match="adjoint"):
        bifocal.encode(pixels, model=model, effort=2)
    spec = json.loads((folder / "model.json").read_text())
    del spec["prices"]
    (folder / "model.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError, match="price"):
        bifocal.encode(pixels, model=Model.load(folder, threads=1), effort=2)


def test_an_encoder_that_keeps_its_analysis_codes_the_same(tiny_model: Model) -> None:
    pixels = made_picture(100, 140)
    once = Encoder(pixels, tiny_model, tile=64)
    kept = Encoder(pixels, tiny_model, tile=64, keep=True)
    for quality in (20, 70):
        assert kept.encode(quality, effort=2) == once.encode(quality, effort=2)
