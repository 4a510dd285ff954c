"""The shipped model keeps its promises on real and on awkward pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import bifocal
from bifocal.measure.demo import bundled_photograph
from bifocal.measure.metrics import psnr
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.model import DEFAULT_MODEL, MODELS
from bifocal.stream import container
from bifocal.stream.exact import EXACT_LIMIT, NumpyEngine, check_bound
from bifocal.stream.latents import coded_symbols, pack, unpack

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def model() -> bifocal.Model:
    return bifocal.Model.load(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def photograph() -> Pixels:
    with Image.open(bundled_photograph()) as picture:
        return np.asarray(picture.convert("RGB"))


def noise() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)


def checkerboard() -> Pixels:
    board = (np.indices((96, 160)).sum(0) % 2 * 255).astype(np.uint8)
    return np.repeat(board[:, :, None], 3, 2)


def text() -> Pixels:
    page = Image.new("RGB", (160, 96), "white")
    draw = ImageDraw.Draw(page)
    for line in range(7):
        draw.text((2, 2 + 13 * line), "exact on every machine", fill="black")
    return np.asarray(page)


def test_model_is_small_and_its_bound_is_proved(model: bifocal.Model) -> None:
    assert sum(f.stat().st_size for f in (MODELS / DEFAULT_MODEL).iterdir()) <= 16 * 2**20
    for net in (model.entropy.hyper, *model.entropy.predictors):
        assert check_bound(net) <= EXACT_LIMIT


def test_bytes_never_fall_as_quality_rises(model: bifocal.Model, photograph: Pixels) -> None:
    part = photograph[:256, :256]
    sizes = [len(bifocal.encode(part, q, model=model)) for q in range(1, 101)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 8 * sizes[0]


def test_quality_rises_with_bytes(model: bifocal.Model, photograph: Pixels) -> None:
    found = [
        psnr(photograph, bifocal.decode(bifocal.encode(photograph, q, model=model)).pixels)
        for q in (5, 35, 65, 95)
    ]
    assert found == sorted(found)
    assert found[0] > 25 and found[-1] > 35


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_estimated_bits_are_the_payloads(model: bifocal.Model, photograph: Pixels, quality: int) -> None:
    """Within 1 % of the payload, the ideal length of the symbols under the tables."""
    y, z = float_latents(model, photograph, quality)
    symbols = coded_symbols(y, z, quality=quality, model=model.entropy, engine=model.engine)
    data = bifocal.encode(photograph, quality, model=model, effort=0)
    box = container.read(data)
    payload = sum(len(box.payload(i)) for i in range(len(box.tiles)))
    assert model.entropy.tables.bits(*symbols) / 8 == pytest.approx(payload, rel=0.01)


@pytest.mark.parametrize("make", [noise, checkerboard, text])
def test_awkward_pictures_round_trip_at_full_quality(
    model: bifocal.Model, make: Callable[[], Pixels]
) -> None:
    """Latents far outside every table are escaped, never clipped: unpacking gives what was packed."""
    data = bifocal.encode(make(), 100, model=model, lossless=False, effort=0)
    latents = unpack(data, model.entropy, model.engine)
    assert pack(latents, model.entropy, NumpyEngine("float32")) == data
    assert bifocal.decode(data).pixels.shape == make().shape


@pytest.mark.parametrize("quality", [1, 30, 60, 100])
def test_every_backend_reads_the_same_latents(model: bifocal.Model, photograph: Pixels, quality: int) -> None:
    data = bifocal.encode(photograph[100:228, 100:228], quality, model=model)
    expected = unpack(data, model.entropy, NumpyEngine("int64"))
    backends = [
        NumpyEngine("float32"),
        NumpyEngine("float64"),
        NumpyEngine("float32", shuffle_seed=1),
        model.engine,
    ]
    for backend in backends:
        backend.layers_run.clear()
        assert unpack(data, model.entropy, backend) == expected
        nets = (model.entropy.hyper, *model.entropy.predictors)
        layers = {f"{net.name}.{i}" for net in nets for i in range(len(net.layers))}
        assert set(backend.layers_run) == layers  # every exact layer ran here, and nowhere else


def test_gray_costs_gray(model: bifocal.Model, photograph: Pixels) -> None:
    gray = np.asarray(Image.fromarray(photograph).convert("L"))
    data = bifocal.encode(gray, 50, model=model)
    assert len(data) < len(bifocal.encode(photograph, 50, model=model))
    picture = bifocal.decode(data)
    assert picture.pixels.shape == gray.shape
    assert psnr(gray, picture.pixels) > 28


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (65, 3), (64, 64)])
def test_any_size(model: bifocal.Model, size: tuple[int, int], photograph: Pixels) -> None:
    picture = np.ascontiguousarray(photograph[: size[0], : size[1]])
    assert bifocal.decode(bifocal.encode(picture, 80, model=model)).pixels.shape == picture.shape


def test_card_names_data_and_training() -> None:
    card = Path(MODELS / DEFAULT_MODEL / "CARD.md").read_text()
    assert "licence" in card.lower() and "minutes" in card and "Kodak" in card


def test_effort_saves_bits_and_a_map_moves_them(model: bifocal.Model, photograph: Pixels) -> None:
    part = photograph[:192, :256]
    costs = []
    for effort in (0, 1, 2, 3):
        data = bifocal.encode(part, 40, model=model, effort=effort)
        error = np.square(bifocal.decode(data, model=model).pixels.astype(float) - part).sum() / 3
        costs.append(8 * len(data) + model.price(40) * error)
    assert costs == sorted(costs, reverse=True)
    weights = np.zeros((192, 256))
    weights[:, :128] = 1
    plain, mapped = (bifocal.encode(part, 40, model=model, quality_map=given) for given in (None, weights))
    assert len(mapped) < 0.85 * len(plain)
    near = [bifocal.decode(data, model=model).pixels[:, :112].astype(float) for data in (plain, mapped)]
    errors = [np.square(pixels - part[:, :112]).mean() for pixels in near]
    assert errors[1] < 1.05 * errors[0]
