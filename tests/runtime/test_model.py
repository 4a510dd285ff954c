"""Packed models: found by what they are, refused when damaged, the same picture in any windows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import LatentsError, ModelError, ModelMissing, OptionError
from bifocal.runtime import analysis, cards, encoding
from bifocal.runtime import model as runtime_model
from bifocal.runtime.analysis import at_quality, float_latents, transform
from bifocal.runtime.encoding import Encoder
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import available_reductions, synthesise
from bifocal.stream.latents import encode_latents
from bifocal.types import Latents
from tests.conftest import made_picture
from tests.tiny_model import build_tiny_model


def latents_of(model: Model, pixels: np.ndarray, quality: int = 50) -> Latents:
    y, z = float_latents(model, pixels, quality)
    h, w = pixels.shape[:2]
    _, latents = encode_latents(
        y,
        z,
        width=w,
        height=h,
        gray=pixels.ndim == 2,
        quality=quality,
        tile=2048,
        model=model.entropy,
        engine=model.engine,
    )
    return latents


@pytest.mark.parametrize("gray", [False, True])
def test_windows_leave_no_trace(tiny_model: Model, gray: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = made_picture(500, 700)
    pixels = pixels[:, :, 0] if gray else pixels
    whole = float_latents(tiny_model, pixels, 50)
    latents = latents_of(tiny_model, pixels)
    picture = synthesise(tiny_model, latents)
    monkeypatch.setattr(runtime_model, "CORE", 128)
    for module in (analysis, encoding):
        monkeypatch.setattr(module, "BLOCK", 256)
    monkeypatch.setattr(runtime_model, "HALO", {"analysis": 16, "synthesis": 16})
    pieces = float_latents(tiny_model, pixels, 50)
    np.testing.assert_allclose(pieces.y, whole.y, atol=1e-4)
    np.testing.assert_allclose(pieces.z, whole.z, atol=1e-4)
    again = synthesise(tiny_model, latents)
    assert again.shape == pixels.shape
    assert np.abs(again.astype(int) - picture).max() <= 1


def test_the_analysis_of_a_part_is_that_of_the_whole(tiny_model: Model) -> None:
    pixels = made_picture(300, 400)
    whole = float_latents(tiny_model, pixels, 50)
    for box in ((0, 0, 64, 64), (64, 128, 256, 192), (320, 256, 448, 320)):
        part = at_quality(tiny_model, transform(tiny_model, pixels, box), 50)
        for stride, of, found in ((16, whole.y, part.y), (64, whole.z, part.z)):
            rows, columns = (slice(box[i] // stride, box[i + 2] // stride) for i in (1, 0))
            np.testing.assert_allclose(found, of[:, rows, columns], atol=1e-4)


def test_one_transform_serves_every_quality(tiny_model: Model) -> None:
    pixels = made_picture(200, 130)
    kept = Encoder(pixels, tiny_model, tile=64, keep=True)
    opened = tiny_model.run
    for quality in (90, 10, 90):
        once = Encoder(pixels, tiny_model, tile=64).encode(quality)
        assert kept.encode(quality) == once
    runs: list[str] = []

    def counted(name: str, *rest: Any) -> Any:
        runs.append(name)
        return opened(name, *rest)

    tiny_model.run = counted  # type: ignore[method-assign]
    try:
        kept.encode(33)
    finally:
        del tiny_model.run  # the method again
    assert "analysis" not in runs and "hyper_analysis" in runs


def test_windows_of_the_shipped_model_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(DEFAULT_MODEL, threads=1)
    pixels = made_picture(256, 256)
    stream = bifocal.encode(pixels, 60, model=model)
    reductions = [n for n in available_reductions(model.folder) if n in (1, 2, 16)]
    whole = [bifocal.decode(stream, model=model, scale=1 / n).pixels.astype(int) for n in reductions]
    latents = float_latents(model, pixels, 60)
    monkeypatch.setattr(runtime_model, "CORE", 64)
    for module in (analysis, encoding):
        monkeypatch.setattr(module, "BLOCK", 128)
    for n, picture in zip(reductions, whole, strict=True):
        again = bifocal.decode(stream, model=model, scale=1 / n).pixels
        assert np.abs(again - picture).max() <= 1
    pieces = float_latents(model, pixels, 60)
    np.testing.assert_allclose(pieces.y, latents.y, atol=1e-4)
    np.testing.assert_allclose(pieces.z, latents.z, atol=1e-4)


def test_pictures_come_back_recognisable(tiny_model: Model) -> None:
    pixels = made_picture(130, 200)
    picture = synthesise(tiny_model, latents_of(tiny_model, pixels, 90))
    assert np.abs(picture.astype(int) - pixels).mean() < 15


def test_latents_of_another_model_are_refused(tiny_model: Model, tmp_path: Path) -> None:
    other = Model.load(build_tiny_model(tmp_path / "other", seed=1))
    with pytest.raises(LatentsError, match="model that made them"):
        synthesise(other, latents_of(tiny_model, made_picture(64, 64)))


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_qualities_out_of_range_are_refused(tiny_model: Model, quality: int) -> None:
    with pytest.raises(OptionError, match="1 "):
        float_latents(tiny_model, made_picture(8, 8), quality)


def test_models_are_found_by_fingerprint_never_by_name(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_model, "MODELS", tmp_path)
    for name, seed in (("a", 1), ("m", 0), ("z", 2)):
        build_tiny_model(tmp_path / name, seed=seed, name=name)
    assert [card.name for card in cards.installed()] == ["a", "m", "z"]
    card = cards.find_card(1, tiny_model.entropy.fingerprint, (0, 1, 0))
    assert (
        card.name == "m" and card.parameters == 1234 and card.licence == "Apache-2.0" and card.size > 10_000
    )
    assert runtime_model.model_folder("a") == tmp_path / "a"
    with pytest.raises(ModelMissing, match=r"Bifocal 0\.7\.0 has it"):
        cards.find_card(1, b"\0" * 8, (0, 7, 0))
    with pytest.raises(ModelError, match="a, m, z"):
        runtime_model.model_folder("nothing")


@pytest.mark.parametrize(
    "name",
    [
        "model.json",
        "weights.safetensors",
        "analysis.onnx",
        "hyper_analysis.onnx",
        "exact-hyper.onnx",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_folder_is_a_model_error(tiny_folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_folder, folder)
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    with pytest.raises(ModelError):
        latents_of(Model.load(folder), made_picture(8, 8))


def test_weights_that_are_not_the_cards_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "swapped"
    shutil.copytree(tiny_folder, folder)
    other = build_tiny_model(tmp_path / "other", seed=1)
    shutil.copy(other / "weights.safetensors", folder / "weights.safetensors")
    with pytest.raises(ModelError, match="do not belong together"):
        Model.load(folder)


@pytest.mark.parametrize("change", [{"format": 2}, {"name": None, "wire_id": "x"}, {"card": 3}])
def test_a_card_that_is_no_card_is_a_model_error(
    tiny_folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(tiny_folder, folder)
    spec = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**spec, **change}))
    with pytest.raises(ModelError):
        cards.read_card(folder)
