"""The contract of a system: what every registered one keeps, on a tiny configuration with random weights.

Exact round trip, any size, an estimate that is the bytes, damaged input refused, networks that compute in
ONNX Runtime what they compute in torch, every effort, tiles, training and checkpoints.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import bifocal
from bifocal.errors import BifocalError, ModelError, TrainingError
from bifocal.learn.checkpoint import DEEP, Checkpoint, load_checkpoint, save_checkpoint
from bifocal.learn.nets.codec import quality_anchors
from bifocal.learn.nets.entropy.exact import ExactConv
from bifocal.learn.recipe import Recipe
from bifocal.learn.systems.registry import SYSTEMS
from bifocal.learn.training.rate_distortion import rate_distortion
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.encoding import ROUNDS
from bifocal.runtime.engines.exact_int8 import Int8Engine
from bifocal.runtime.model import HALO, Model
from bifocal.runtime.rendering import REDUCTIONS, available_reductions, synthesise
from bifocal.runtime.windows import padded_size
from bifocal.stream import container
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import coded_symbols, pack, unpack
from bifocal.stream.limits import TILE_UNIT
from tests.conftest import made_picture
from tests.contract.tiny_systems import ELSEWHERE, TINY, Packed

#: Header, index and the coder's last word: what a stream of one tile holds beside the symbols.
CONTAINER_BYTES = 64
#: Systems whose packed models training goes on from (docs/training.md).
UNPACKED = ("lapped", "lowfirst")


def as_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """``[1, 3, H, W]``, padded by the last row and column to multiples of 64, as the runtime pads."""
    h, w = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -h % TILE_UNIT), (0, -w % TILE_UNIT), (0, 0)), mode="edge")
    return torch.from_numpy(padded).permute(2, 0, 1)[None].float()


def test_every_system_has_a_tiny_configuration() -> None:
    missing = sorted(set(SYSTEMS) - set(TINY))
    assert not missing, f"add {', '.join(missing)} to TINY in tests/contract/tiny_systems.py"


@pytest.mark.parametrize("quality", [1, 55, 100])
def test_latents_come_back_exactly(packed: Packed, quality: int) -> None:
    """By every engine, and packed again they are the same bytes."""
    model = packed.model
    data = bifocal.encode(made_picture(150, 100), quality, model=model, effort=0)
    latents = unpack(data, model.entropy, model.engine)
    assert unpack(data, model.entropy, NumpyEngine()) == latents
    assert pack(latents, model.entropy, model.engine) == data
    assert quality < 50 or latents.y.any()  # a test of nothing would pass


def test_8_bit_products_run_what_fits_them(packed: Packed) -> None:
    assert isinstance(packed.model.engine, Int8Engine) == (packed.model.entropy.wire_id == 2)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 70), (67, 3), (65, 129)])
def test_any_size(packed: Packed, height: int, width: int) -> None:
    for pixels in (made_picture(height, width), made_picture(height, width)[:, :, 0]):
        data = bifocal.encode(pixels, 60, model=packed.model)
        assert bifocal.decode(data, model=packed.model).pixels.shape == pixels.shape


def in_small_windows(model: Model) -> tuple[Model, int]:
    """The same model working in windows of 64 pixels, and a side that takes several of them."""
    default = {name: padded_size(halo, TILE_UNIT) for name, halo in HALO.items()}
    windows = {"core": TILE_UNIT, "halo": model._spec.get("windows", {}).get("halo", default)}
    small = Model.load(model.folder, threads=1)
    small._spec = {**model._spec, "windows": windows}
    return small, 2 * TILE_UNIT + 2 * max(windows["halo"].values()) + 10


@pytest.mark.parametrize("upright", [False, True])
def test_windows_leave_no_trace(packed: Packed, upright: bool) -> None:
    """A picture in many windows is the picture in one, within a rounding, and a box is the crop of it."""
    whole = packed.model
    small, side = in_small_windows(whole)
    pixels = made_picture(*((side, 90) if upright else (90, side)))
    parts = (float_latents(model, pixels, 60) for model in (small, whole))
    for found, expected in zip(*parts, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-3 * max(1.0, float(np.abs(expected).max())))
    data = bifocal.encode(pixels, 60, model=whole)
    decoded = bifocal.decode(data, model=small).pixels
    assert np.abs(decoded.astype(int) - bifocal.decode(data, model=whole).pixels).max() <= 1
    h, w = pixels.shape[:2]
    for box in ((0, 0, 10, 10), (w // 3, h // 3, w // 2, h // 2), (w - 1, h - 1, w, h)):
        crop = decoded[box[1] : box[3], box[0] : box[2]]
        assert np.array_equal(bifocal.decode(data, model=small, box=box).pixels, crop)


def test_the_estimate_is_the_bytes(packed: Packed) -> None:
    """Within 1 %, and a constant for the container: what training minimises is what a file holds."""
    model, pixels, quality = packed.model, made_picture(256, 320), 40
    data = bifocal.encode(pixels, quality, model=model, effort=0)
    with torch.no_grad():
        coded = packed.codec(as_tensor(pixels), torch.tensor([quality]), exact=True, noise=False)
    estimate = float(coded.bits) / 8
    assert estimate > 1000
    assert abs(len(data) - estimate) <= 0.01 * estimate + CONTAINER_BYTES


@pytest.mark.parametrize("quality", [10, 95])
def test_the_tables_promise_the_bytes(packed: Packed, quality: int) -> None:
    """Escapes included, which the estimate of training does not know."""
    model, pixels = packed.model, made_picture(192, 256)
    data = bifocal.encode(pixels, quality, model=model, effort=0)
    y, z = float_latents(model, pixels, quality)
    symbols = coded_symbols(y, z, quality=quality, model=model.entropy, engine=model.engine)
    promised = float(model.entropy.tables.bits(*symbols)) / 8
    assert abs(len(data) - promised) <= 0.01 * promised + CONTAINER_BYTES


def test_damaged_input_is_refused(packed: Packed) -> None:
    model = packed.model
    data = bifocal.encode(made_picture(40, 50), 60, model=model)
    step = max(1, len(data) // 40)
    for stop in [*range(0, len(data), step), len(data) - 1]:
        with pytest.raises(BifocalError):
            bifocal.decode(data[:stop], model=model)
    for at in [*range(0, len(data), step), len(data) - 1]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        with pytest.raises(BifocalError):
            bifocal.decode(bytes(flipped), model=model)


@pytest.mark.parametrize("height, width", [(64, 64), (64, 192), (320, 128)])
def test_packed_networks_are_the_trained_ones(packed: Packed, height: int, width: int) -> None:
    """ONNX Runtime and torch: analysis and hyper-analysis of pixels, and synthesis of decoded latents."""
    codec, model = packed.codec, packed.model
    pixels, quality = made_picture(height, width), 70
    data = bifocal.encode(pixels, quality, model=model)
    latents = unpack(data, model.entropy, model.engine)
    with torch.no_grad():
        gain, inverse = codec.gains(quality_anchors(torch.tensor([quality]), codec.config.anchors))
        y = codec.analyse(as_tensor(pixels)) * gain
        expected = (y, codec.hyper_latent(y))
        decoded = torch.from_numpy(latents.y)[None].float() / 2**codec.plan.fraction * inverse
        picture = codec.synthesise(decoded)[0].clamp(0, 255).permute(1, 2, 0).numpy()
    for found, of in zip(float_latents(model, pixels, quality), expected, strict=True):
        assert found.shape == of[0].shape
        np.testing.assert_allclose(found, of[0].numpy(), atol=0.01 * max(1.0, float(of.abs().max())))
    assert np.abs(synthesise(model, latents) - picture).max() < 1


def test_training_goes_on_from_it_or_says_why_not(packed: Packed) -> None:
    """Systems whose graphs torch exports are refused; a system of yours may be either."""
    name = packed.model.name.removeprefix("tiny-")
    try:
        found = load_checkpoint(packed.model.folder)
    except TrainingError as error:
        assert name not in UNPACKED
        assert "by themselves. Resume from its checkpoint." in str(error)
    else:
        assert found.config == packed.codec.config


def test_every_effort_that_the_model_has(packed: Packed) -> None:
    model, pixels = packed.model, made_picture(90, 70)
    searches = (model.folder / "adjoint.onnx").exists()
    for effort in (0, 1, 2, len(ROUNDS) - 1) if searches else (0, 1):
        data = bifocal.encode(pixels, 50, model=model, effort=effort)
        latents = unpack(data, model.entropy, model.engine)
        found = bifocal.decode(data, model=model).pixels
        filtered = "filt" in container.read(data).metadata
        assert filtered != np.array_equal(synthesise(model, latents), found)
    if not searches:
        with pytest.raises(ModelError, match="effort 1"):
            bifocal.encode(pixels, 50, model=model, effort=2)


def test_every_scale_that_the_model_has(packed: Packed) -> None:
    model, pixels = packed.model, made_picture(90, 70)
    data = bifocal.encode(pixels, 50, model=model)
    available = available_reductions(model.folder)
    assert 1 in available
    for reduction in REDUCTIONS:
        if reduction in available:
            small = bifocal.decode(data, model=model, scale=1 / reduction).pixels
            assert small.shape == (-(-90 // reduction), -(-70 // reduction), 3)
        else:
            with pytest.raises(ModelError, match="cannot decode at this scale"):
                bifocal.decode(data, model=model, scale=1 / reduction)


def test_quality_maps_and_sizes(packed: Packed) -> None:
    """Weights steer the search of symbols, and a size is kept."""
    model, pixels = packed.model, made_picture(130, 140)
    plain = bifocal.encode(pixels, 80, model=model)
    half = np.zeros(pixels.shape[:2], np.float32)
    half[:, :70] = 1
    assert len(bifocal.encode(pixels, 80, model=model, quality_map=half)) < len(plain)
    assert len(bifocal.encode(pixels, size=len(plain), model=model)) <= len(plain)


def test_a_tile_that_holds_the_picture_changes_nothing(packed: Packed) -> None:
    """Any such side gives the same latents and payload; smaller tiles cut the picture, and it comes back."""
    model, pixels = packed.model, made_picture(100, 180)
    streams = {tile: bifocal.encode(pixels, 60, model=model, tile=tile) for tile in (192, 256, 2048, 4096)}
    payloads = {bytes(container.read(data).payload(0)) for data in streams.values()}
    assert len(payloads) == 1
    assert len({unpack(data, model.entropy, model.engine).y.tobytes() for data in streams.values()}) == 1
    cut = bifocal.encode(pixels, 60, model=model, tile=64, effort=0)
    assert len(container.read(cut).tiles) == 6
    assert pack(unpack(cut, model.entropy, model.engine), model.entropy, model.engine) == cut
    assert bifocal.decode(cut, model=model).pixels.shape == pixels.shape


def test_every_weight_learns(system: str, packed: Packed) -> None:
    """A step of training reaches every parameter, with the entropy networks in float and in integers."""
    codec = packed.codec
    pixels = torch.cat([as_tensor(made_picture(64, 64, seed=seed)) for seed in (1, 2)])
    for exact in (False, True):
        recipe = Recipe("contract", system=codec.config, exact=exact)
        loss, figure = rate_distortion(codec, pixels, torch.tensor([20, 90]), recipe)
        codec.zero_grad()
        loss.backward()
        assert bool(loss.isfinite()) and bool(figure.isfinite().all())
        elsewhere = ELSEWHERE.get(system, ())
        without = [
            name for name, p in codec.named_parameters() if p.grad is None and not name.startswith(elsewhere)
        ]
        assert not without, f"{', '.join(without)} never learn"
        assert all(bool(p.grad.isfinite().all()) for p in codec.parameters() if p.grad is not None)
    codec.zero_grad()


@pytest.mark.parametrize("small", [False, True])
def test_checkpoints_come_back(packed: Packed, tmp_path: Path, small: bool) -> None:
    codec, path = packed.codec, tmp_path / "checkpoint.safetensors"
    weights = {key: value.detach() for key, value in codec.state_dict().items()}
    average = {key: value.clone() for key, value in weights.items()}
    save_checkpoint(path, Checkpoint(codec.config, weights, average, ({"steps": 3},)), small=small)
    found = load_checkpoint(path)
    assert found.config == codec.config and found.history == ({"steps": 3},)
    again = found.model()
    assert type(again) is type(codec)
    kept = again.state_dict()
    for name, part in codec.named_modules(remove_duplicate=False):
        if small and isinstance(part, ExactConv):  # kept as integers, of which each has an exponent a row
            value, step = kept.pop(f"{name}.weight"), 2.0 ** -part.exponents()[:, None, None, None]
            assert bool(((value - part.kernel).abs() <= step / 2).all())
    for key, value in kept.items():
        if small and value.ndim == 4 and any(part in key for part in DEEP):  # bytes with a scale a row
            rows = weights[key].abs().amax((1, 2, 3), keepdim=True)
            assert bool(((value - weights[key]).abs() <= 0.501 * rows / 127).all())
        else:
            assert torch.equal(value, weights[key])
