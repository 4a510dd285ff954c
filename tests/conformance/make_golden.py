"""Makes the golden model and streams that every later release must decode alike.

    python -m tests.conformance.make_golden tests/conformance/golden/NAME

Golden folders are append-only: this writes a new one and refuses to touch one that exists. ``hashes.json``
holds SHA-256 of every stream's bytes and of its latents (z, then y, little-endian int32 in C order). The
model is tiny, its weights are random integers, and its shifts are chosen so that table indexes spread over
the whole range and means are large: it compresses nothing and leaves no path of the decoder untouched.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.pictures.lossless import encode_lossless
from bifocal.stream import container
from bifocal.stream.chunks.alpha import encode_alpha
from bifocal.stream.chunks.caption import encode_caption
from bifocal.stream.chunks.restoration import Restoration, encode_restorations
from bifocal.stream.coder import TOTAL, Tables
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer, ExactNet, NumpyEngine
from bifocal.stream.latents import encode_latents
from bifocal.stream.plan import Group, Plan
from bifocal.stream.tables import gaussian_tables, scale_ladder
from bifocal.types import Caption, Latents

Y, Z, FEATURES, TABLES, SKIP = 16, 4, 8, 64, 6
GROUPS = (Group(0, 4, 2, 0), Group(0, 4, 2, 1), *(Group(4, Y, 4, step) for step in range(4)))


@dataclass(frozen=True)
class Recipe:
    """One golden stream: its picture's size, and the standard deviation of y in units of a symbol."""

    width: int
    height: int
    tile: int
    quality: int
    spread: float
    gray: bool = False
    metadata: Mapping[str, bytes] = field(default_factory=dict)


def golden_alpha() -> NDArray[np.uint8]:
    """Alpha ``[100, 150]`` of which some tiles are opaque, some flat and some take every filter."""
    alpha = np.full((100, 150), 255, np.uint8)
    alpha[:64, 64:128] = 0
    rows, columns = np.mgrid[:64, :64]
    alpha[:64, :64] = np.where(rows < 20, 4 * rows, np.where(rows < 40, 4 * columns, rows * columns % 256))
    alpha[70:90, 130:150] = 128
    return alpha


METADATA = {"exif": b"Exif\0\0golden", "icc": b"", "zzz9": bytes(300)}
STREAMS: dict[str, dict[str, Recipe]] = {
    "tiny-1": {
        "one-pixel": Recipe(1, 1, 2048, 50, 3.0),
        "thin-65x3": Recipe(65, 3, 2048, 1, 1.0),
        "tiles-200x130": Recipe(200, 130, 64, 73, 4.0),
        "uneven-tiles-200x130": Recipe(200, 130, 128, 100, 9.0),
        "gray-64x64": Recipe(64, 64, 64, 30, 2.0, gray=True),
        "metadata-40x90": Recipe(40, 90, 2048, 90, 2.0, metadata=METADATA),
        "escapes-96x64": Recipe(96, 64, 64, 100, 900.0),
        "huge-escapes-64x64": Recipe(64, 64, 64, 100, 3e6),
        "silence-128x128": Recipe(128, 128, 2048, 10, 0.0),
    },
    "tiny-2": {
        "one-pixel": Recipe(1, 1, 64, 1, 2.0),
        "column-1x150": Recipe(1, 150, 128, 42, 3.0),
        "gray-tiles-130x70": Recipe(130, 70, 64, 99, 30.0, gray=True),
        "escapes-64x64": Recipe(64, 64, 2048, 100, 1e5, metadata={"a": b"\0"}),
    },
    "tiny-4": {  # wire id 2
        "one-pixel": Recipe(1, 1, 64, 100, 2.0),
        "tiles-200x130": Recipe(200, 130, 64, 55, 4.0),
        "gray-70x64": Recipe(70, 64, 2048, 3, 1.0, gray=True),
        "escapes-64x96": Recipe(64, 96, 64, 100, 700.0),
    },
    "tiny-3": {  # transparency; the model is that of tiny-2
        "alpha-150x100": Recipe(150, 100, 64, 60, 2.0, metadata={"alph": encode_alpha(golden_alpha(), 64)}),
    },
}


def _layer(
    rng: np.random.Generator, outputs: int, inputs: int, kernel: int, clip: tuple[int, int], *, shift: int,
    relu: bool = False, shuffle: bool = False, qualities: int = 1, spread: int = 200, largest: int = 127,
) -> ExactLayer:  # fmt: skip
    weight = rng.integers(-largest, largest + 1, (outputs, inputs, kernel, kernel)).astype(np.int8)
    bias = rng.integers(-spread, spread + 1, (qualities, outputs)).astype(np.int32) + (1 << shift >> 1)
    shifts = np.full(outputs, shift, np.int32)
    return ExactLayer(weight, bias.astype(np.int32), shifts, relu, *clip, shuffle=shuffle)


def tiny_model() -> EntropyModel:
    """tiny-1: the shape of LowFirst. Both kernels, shuffles, rows of biases for every quality, relu, and
    clips that are really reached."""
    rng = np.random.default_rng(1)
    layer = partial(_layer, rng)
    hyper = ExactNet(
        "hyper",
        np.full(Z, 127, np.int32),
        (
            layer(4 * FEATURES, Z, 1, (0, 511), shift=5, relu=True, shuffle=True, qualities=100, spread=2000),
            layer(4 * FEATURES, FEATURES, 3, (0, 511), shift=9, relu=True, shuffle=True),
        ),
    )
    limits = np.array([511] * FEATURES + [1023] * Y, dtype=np.int32)
    predictors = []
    for k, group in enumerate(GROUPS):
        last = layer(2 * group.channels, 12, 1, (-32767, 32767), shift=7)
        # Means move by some symbols; indexes spread around the middle of the tables and overshoot both ends.
        last.shift[group.channels :] = 10
        last.bias[:, group.channels :] = (TABLES // 2 << 10) + 512
        qualities = 100 if k == 2 else 1
        first = {"shift": 6, "relu": k % 2 == 0, "qualities": qualities, "spread": 9000}
        layers = (
            layer(12, FEATURES + Y, 1, (-300, 511), **first),
            layer(12, 12, 3, (0, 511), shift=9, relu=True, spread=40000),
            last,
        )
        predictors.append(ExactNet(f"predict.{k}", limits, layers))
    z_index = np.linspace(TABLES // 4, TABLES - 20, 100)[:, None] + np.arange(Z)[None, :]
    return EntropyModel(
        name="tiny-1",
        release=(0, 1, 0),
        plan=Plan(Y, Z, GROUPS, skip=SKIP),
        hyper=hyper,
        predictors=tuple(predictors),
        tables=gaussian_tables(scale_ladder(TABLES, 0.11, 12.0)),
        z_index=z_index.astype(np.int32),
    )


def odd_model() -> EntropyModel:
    """tiny-2: what tiny-1 leaves out. Other strides and fixed-point formats, a context clip tighter than the
    inputs', groups that begin at odd channels, all three kinds of steps, networks of one to three layers,
    shifts that differ by row (0 among them), negative activations, lopsided tables, one of radius 0."""
    rng = np.random.default_rng(2)
    y, z, features = 10, 3, 6
    groups = (
        Group(0, 3, 1, 0), Group(3, 6, 2, 0), Group(3, 6, 2, 1), *(Group(6, y, 4, step) for step in range(4))
    )  # fmt: skip
    hyper = ExactNet(
        "hyper",
        np.array([127, 100, 0], np.int32),
        (
            _layer(rng, 5, z, 3, (-90, 60), shift=7),
            _layer(rng, 4 * features, 5, 1, (-40, 200), shift=6, shuffle=True, qualities=100, spread=5000),
            _layer(rng, features, features, 1, (-200, 511), shift=0, spread=9),
        ),
    )
    hyper.layers[2].shift[:] = rng.integers(0, 9, features)
    limits = np.array([511] * features + [1023] * y, dtype=np.int32)
    predictors = []
    for k, group in enumerate(groups):
        widths = [features + y, 7, 9][: 1 + k % 3]
        layers = [
            _layer(rng, b, a, 1 if k % 2 else 3, (-200, 300), shift=8, relu=k % 3 == 1)
            for a, b in pairwise(widths)
        ]
        last = _layer(rng, 2 * group.channels, widths[-1], 3 if k % 2 else 1, (-3000, 3000), shift=5)
        last.shift[: group.channels] = rng.integers(5, 12, group.channels)
        last.shift[group.channels :] = 11
        last.bias[:, group.channels :] = (9 << 11) + rng.integers(-999, 999, group.channels)
        predictors.append(ExactNet(f"predict.{k}", limits, (*layers, last)))
    return EntropyModel(
        name="tiny-2",
        release=(255, 0, 7),
        plan=Plan(
            y, z, groups, y_stride=16, z_stride=32, fraction=2, context_shift=3, context_max=90, skip=0
        ),
        hyper=hyper,
        predictors=tuple(predictors),
        tables=_lopsided_tables(rng, [0, 1, 1, 2, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 20, 25, 30, 31, 32]),
        z_index=rng.integers(0, 19, (100, z)).astype(np.int32),
    )


def points_model() -> EntropyModel:
    """tiny-4: wire id 2. Symbols are decoded off themselves, nearer to the mean and further, by table and
    magnitude; every weight and hidden activation is as large as it may be somewhere."""
    rng = np.random.default_rng(4)
    layer = partial(_layer, rng, largest=63)
    hyper = ExactNet(
        "hyper",
        np.full(Z, 127, np.int32),
        (
            layer(4 * FEATURES, Z, 1, (0, 255), shift=5, relu=True, shuffle=True, qualities=100, spread=2000),
            layer(FEATURES, FEATURES, 3, (0, 255), shift=7, relu=True),
            layer(4 * FEATURES, FEATURES, 1, (0, 255), shift=6, relu=True, shuffle=True),
        ),
    )
    limits = np.array([255] * FEATURES + [1023] * Y, dtype=np.int32)
    predictors = []
    for k, group in enumerate(GROUPS):
        rows = 100 if k == 3 else 1
        last = layer(2 * group.channels, 12, 1, (-32767, 32767), shift=5)
        last.shift[group.channels :] = 8
        last.bias[:, group.channels :] = (TABLES // 2 << 8) + 128
        layers = (
            layer(12, FEATURES + Y, 1, (0, 255), shift=5, relu=True, qualities=rows, spread=9000),
            layer(12, 12, 3, (0, 255), shift=7, relu=True, spread=20000),
            last,
        )
        predictors.append(ExactNet(f"predict.{k}", limits, layers))
    z_index = np.linspace(TABLES // 4, TABLES - 20, 100)[:, None] + np.arange(Z)[None, :]
    return EntropyModel(
        name="tiny-4",
        release=(0, 5, 0),
        plan=Plan(Y, Z, GROUPS, skip=SKIP),
        hyper=hyper,
        predictors=tuple(predictors),
        tables=gaussian_tables(scale_ladder(TABLES, 0.11, 12.0)),
        z_index=z_index.astype(np.int32),
        wire_id=2,
        reconstruction=rng.integers(-7, 8, (TABLES, 3)).astype(np.int32),
    )


def _lopsided_tables(rng: np.random.Generator, radii: list[int]) -> Tables:
    frequency = np.zeros((len(radii), 2 * max(radii) + 2), dtype=np.int32)
    for row, radius in zip(frequency, radii, strict=True):
        entries = 2 * radius + 2
        row[:entries] = 1 + rng.multinomial(TOTAL - entries, rng.dirichlet(np.full(entries, 0.4)))
    return Tables(frequency, np.array(radii, dtype=np.int32))


MODELS = {"tiny-1": tiny_model, "tiny-2": odd_model, "tiny-3": odd_model, "tiny-4": points_model}


def golden_stream(name: str, recipe: Recipe, model: EntropyModel) -> tuple[bytes, Latents]:
    """The stream called ``name`` and the latents that it holds."""
    rng = np.random.default_rng([0, *name.encode()])
    plan, h, w = model.plan, -(-recipe.height // 64), -(-recipe.width // 64)
    shape = (plan.y_channels, h * 64 // plan.y_stride, w * 64 // plan.y_stride)
    # A third of the symbols come from a distribution of heavy tails, so that escapes occur everywhere.
    y = rng.standard_normal(shape) * recipe.spread * np.where(rng.random(shape) < 0.3, 4.0, 0.5)
    shape = (plan.z_channels, h * 64 // plan.z_stride, w * 64 // plan.z_stride)
    z = rng.standard_normal(shape) * min(recipe.spread, 2000.0)
    return encode_latents(
        np.clip(y, -8e6, 8e6), z, width=recipe.width, height=recipe.height, gray=recipe.gray,
        quality=recipe.quality, tile=recipe.tile, model=model, engine=NumpyEngine("int64"),
        metadata=recipe.metadata,
    )  # fmt: skip


def stored_stream() -> bytes:
    """``stored/mixed-128x64.bfc``: a tile stored without loss, and one of latents of tiny-4."""
    data, _ = golden_stream("mixed-128x64", Recipe(128, 64, 64, 70, 3.0), points_model())
    stream = container.read(data)
    rows, columns = np.mgrid[:64, :64]
    pixels = np.dstack([rows // 8 * 30, columns // 16 * 60, (rows + columns) % 7]).astype(np.uint8)
    second = bytes(stream.payload(1)), stream.tiles[1].latent_crc
    return container.write(
        stream.header,
        {"xmp": b"<x/>"},
        [(encode_lossless(pixels), zlib.crc32(pixels.tobytes())), second],
        [1, 0],
    )


def restored_stream() -> bytes:
    """``restored/regions-200x130.bfc``: latents of tiny-4, and regions with each kind of filter and none."""
    rng = np.random.default_rng(6)
    alone = np.zeros((3, 3, 6), np.int8)
    alone[[0, 1, 2], [0, 1, 2]] = rng.integers(-60, 60, (3, 6))
    filters = [
        Restoration(9, alone),
        None,
        Restoration(200, rng.integers(-20, 20, (3, 3, 6)).astype(np.int8)),
    ]
    # tiles of 128: four, two and one region of 64 in a row, three rows of regions in all
    chunk = encode_restorations(64, [filters[k % 3] for k in range(12)])
    return golden_stream(
        "regions-200x130", Recipe(200, 130, 128, 40, 3.0, metadata={"filt": chunk}), points_model()
    )[0]


def plane_stream() -> bytes:
    """``planes/infrared-130x70.bfc``: latents of tiny-4 in two tiles, and one more plane with one tile."""
    model = points_model()
    beside, _ = golden_stream("plane", Recipe(130, 70, 2048, 80, 2.0, gray=True), model)
    recipe = Recipe(130, 70, 128, 40, 3.0, metadata={"plne": beside, "xmp": b"<x/>"})
    return golden_stream("infrared-130x70", recipe, model)[0]


def caption_stream() -> bytes:
    """``captioned/deflated-64x64.bfc``: latents of tiny-4, and a caption in two scripts, deflated."""
    caption = Caption("eine rote Tasse auf dem roten Tisch, eine rote Tasse auf dem roten Tisch 茶杯", "de")
    recipe = Recipe(64, 64, 64, 40, 3.0, metadata={"capt": encode_caption(caption)})
    return golden_stream("deflated-64x64", recipe, points_model())[0]


def latents_hash(latents: Latents) -> str:
    """SHA-256 of z, then y, as little-endian int32 in C order: what a conforming decoder must reproduce."""
    digest = hashlib.sha256()
    for array in (latents.z, latents.y):
        little: NDArray[np.int32] = array.astype("<i4")
        digest.update(little.tobytes())
    return digest.hexdigest()


def main(target: str) -> None:
    folder = Path(target)
    if folder.exists():
        raise SystemExit(f"{folder} exists; golden streams are append-only. Choose a new name.")
    model = MODELS[folder.name]()
    model.save(folder / "model")
    streams = {}
    for name, recipe in STREAMS[folder.name].items():
        data, latents = golden_stream(name, recipe, model)
        (folder / f"{name}.bfc").write_bytes(data)
        streams[name] = {"bytes": hashlib.sha256(data).hexdigest(), "latents": latents_hash(latents)}
    hashes = {"fingerprint": model.fingerprint.hex(), "streams": streams}
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
