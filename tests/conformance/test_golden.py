"""Streams that were ever written decode for ever, to the same latents, and pack again to the same bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bifocal.runtime.decoding import restorations
from bifocal.runtime.lossless import stored_pixels
from bifocal.runtime.restoration import restore
from bifocal.stream import container
from bifocal.stream.chunks.alpha import decode_alpha
from bifocal.stream.chunks.restoration import Restoration
from bifocal.stream.exact import Kind, NumpyEngine
from bifocal.stream.latents import EntropyModel, decode_tile, pack, unpack
from tests.conformance.make_golden import golden_alpha, latents_hash
from tests.conformance.spec_alpha import read_alpha
from tests.conformance.spec_restoration import read_filters, restored

GOLDEN = Path(__file__).parent / "golden"
STREAMS = [
    pytest.param(folder, name, hashes, id=f"{folder.name}/{name}")
    for folder in sorted(GOLDEN.iterdir())
    for name, hashes in json.loads((folder / "hashes.json").read_text())["streams"].items()
]
#: SHA-256 of every hashes.json: append a line for a new folder, never change one.
FOLDERS = {
    "tiny-1": "278ff00c42d79c2e6b9252928d8935f4b403f1e8c8b045bb1ec50cc21a7e9e43",
    "tiny-2": "f88e67c317030f3df7bc8def683220d3e484385b64ba19019247c44ba44dff0a",
    "tiny-3": "a8b8eb51d62b2ba2a2b70e1eee45fbd87cc5ef27b9fc0433d03a142d6e2341ec",
    "tiny-4": "0eae7c08a4060efabd69e083f65b7a8b37cb8f58c42dd56037eb4f1ae722f822",
}


def test_golden_folders_are_append_only() -> None:
    found = {p.name: hashlib.sha256((p / "hashes.json").read_bytes()).hexdigest() for p in GOLDEN.iterdir()}
    assert found == FOLDERS


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda p: p.name)
def test_every_stream_is_listed_and_the_model_is_small(folder: Path) -> None:
    hashes = json.loads((folder / "hashes.json").read_text())
    assert {p.stem for p in folder.glob("*.bfc")} == set(hashes["streams"])
    assert EntropyModel.load(folder / "model").fingerprint.hex() == hashes["fingerprint"]
    assert sum(p.stat().st_size for p in (folder / "model").iterdir()) <= 100_000


@pytest.mark.parametrize("kind", ["float32", "int64"])
@pytest.mark.parametrize(("folder", "name", "hashes"), STREAMS)
def test_decodes_to_the_recorded_latents_and_packs_again(
    folder: Path, name: str, hashes: dict[str, str], kind: Kind
) -> None:
    model, engine = EntropyModel.load(folder / "model"), NumpyEngine(kind)
    data = (folder / f"{name}.bfc").read_bytes()
    assert hashlib.sha256(data).hexdigest() == hashes["bytes"]
    latents = unpack(data, model, engine)
    assert latents_hash(latents) == hashes["latents"]
    assert pack(latents, model, engine, container.read(data).metadata) == data
    assert engine.layers_run == {
        f"{net.name}.{i}": 2 * len(container.read(data).tiles)
        for net in (model.hyper, *model.predictors)
        for i in range(len(net.layers))
    }


def test_a_golden_tile_stored_without_loss_gives_the_recorded_pixels() -> None:
    data = (GOLDEN.parent / "stored" / "mixed-128x64.bfc").read_bytes()
    assert (
        hashlib.sha256(data).hexdigest() == "e76c0048e2a14ee61c326a0b64a2ad37d6d36bad2375365cc6380a9aed00527a"
    )
    stream = container.read(data)
    assert [tile.lossless for tile in stream.tiles] == [True, False] and stream.metadata == {"xmp": b"<x/>"}
    pixels = stored_pixels(stream, 0)
    assert (
        hashlib.sha256(pixels.tobytes()).hexdigest()
        == "c3a6d6910036ba96267f589001c5ec6c19164c9cf6eb11d4ac547baeb21947a2"
    )
    y, z = decode_tile(stream, 1, EntropyModel.load(GOLDEN / "tiny-4" / "model"), NumpyEngine())
    latents = z.astype("<i4").tobytes() + y.astype("<i4").tobytes()
    assert (
        hashlib.sha256(latents).hexdigest()
        == "d9afb1732a04a242f86335274883b9ec647ad031b586dc68a8ee752e5481214f"
    )


def test_golden_restoration_filters_are_read_alike_by_us_and_from_the_specification() -> None:
    data = (GOLDEN.parent / "restored" / "regions-200x130.bfc").read_bytes()
    assert (
        hashlib.sha256(data).hexdigest() == "333d022599dee4c4d4b1cdd5973fd97e7aa79e3209d14ba63a100c26aca0a8b1"
    )
    stream, model = container.read(data), EntropyModel.load(GOLDEN / "tiny-4" / "model")
    assert pack(unpack(data, model, NumpyEngine()), model, NumpyEngine(), stream.metadata) == data
    ours = [
        ((top, left, bottom - top, right - left), found.clip, found.coefficients.ravel().tolist())
        for (left, top, right, bottom), found in restorations(stream)
    ]
    assert ours == read_filters(data) and len(ours) == 8


def test_pixels_are_restored_as_the_specification_says() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (3, 19, 7)).astype(np.float32)
    for clip, alone in ((40, True), (255, False)):
        coefficients = rng.integers(-128, 128, (3, 3, 6)).astype(np.int8)
        coefficients *= np.eye(3, dtype=np.int8)[:, :, None] if alone else np.int8(1)
        wanted = restored(pixels.tolist(), clip, coefficients.ravel().tolist())
        assert np.allclose(restore(pixels, Restoration(clip, coefficients)), wanted, atol=2e-3)


def test_the_golden_alpha_is_read_alike_by_us_and_from_the_specification() -> None:
    """Its first tile holds rows of every filter."""
    data = (GOLDEN / "tiny-3" / "alpha-150x100.bfc").read_bytes()
    alpha = decode_alpha(container.read(data).metadata["alph"], 150, 100, 64)
    assert alpha.tolist() == golden_alpha().tolist() == read_alpha(data)
    assert hashlib.sha256(alpha.tobytes()).hexdigest().startswith("d461f6c9e715b35a")
