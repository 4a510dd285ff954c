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
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.exact import ExactLayer, ExactNet, NumpyBackend
from bifocal.stream.latents import encode_latents
from bifocal.stream.model import EntropyModel
from bifocal.stream.plan import Group, Plan
from bifocal.stream.tables import gaussian_tables, scale_ladder
from bifocal.types import Latents

Y, Z, FEATURES, TABLES, SKIP = 16, 4, 8, 64, 6
GROUPS = (Group(0, 4, 2, 0), Group(0, 4, 2, 1), *(Group(4, Y, 4, step) for step in range(4)))

#: name: width, height, tile, gray, quality, metadata, standard deviation of y in units of a symbol
STREAMS: dict[str, tuple[int, int, int, bool, int, Mapping[str, bytes], float]] = {
    "one-pixel": (1, 1, 2048, False, 50, {}, 3.0),
    "thin-65x3": (65, 3, 2048, False, 1, {}, 1.0),
    "tiles-200x130": (200, 130, 64, False, 73, {}, 4.0),
    "uneven-tiles-200x130": (200, 130, 128, False, 100, {}, 9.0),
    "gray-64x64": (64, 64, 64, True, 30, {}, 2.0),
    "metadata-40x90": (
        40,
        90,
        2048,
        False,
        90,
        {"exif": b"Exif\0\0golden", "icc": b"", "zzz9": bytes(300)},
        2.0,
    ),
    "escapes-96x64": (96, 64, 64, False, 100, {}, 900.0),
    "huge-escapes-64x64": (64, 64, 64, False, 100, {}, 3e6),
    "silence-128x128": (128, 128, 2048, False, 10, {}, 0.0),
}


def tiny_model(seed: int = 1) -> EntropyModel:
    """An entropy model of random integers with every feature of the format: both kernels, shuffles, rows of
    biases for every quality, relu, and saturating clips that are really reached."""
    rng = np.random.default_rng(seed)

    def layer(
        outputs: int,
        inputs: int,
        kernel: int,
        clip: tuple[int, int],
        *,
        shift: int,
        relu: bool = False,
        shuffle: bool = False,
        qualities: int = 1,
        spread: int = 200,
    ) -> ExactLayer:
        weight = rng.integers(-127, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
        bias = rng.integers(-spread, spread + 1, (qualities, outputs)).astype(np.int32) + (1 << shift >> 1)
        return ExactLayer(
            weight, bias.astype(np.int32), np.full(outputs, shift, np.int32), relu, *clip, shuffle=shuffle
        )  # fmt: skip

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
        layers = (
            layer(
                12,
                FEATURES + Y,
                1,
                (-300, 511),
                shift=6,
                relu=k % 2 == 0,
                qualities=100 if k == 2 else 1,
                spread=9000,
            ),
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


def golden_stream(name: str, model: EntropyModel, seed: int = 0) -> tuple[bytes, Latents]:
    """The stream called ``name`` and the latents that it holds."""
    width, height, tile, gray, quality, metadata, spread = STREAMS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    h, w = -(-height // 64), -(-width // 64)
    # A third of the symbols come from a distribution of heavy tails, so that escapes occur everywhere.
    y = (
        rng.standard_normal((Y, 4 * h, 4 * w))
        * spread
        * np.where(rng.random((Y, 4 * h, 4 * w)) < 0.3, 4.0, 0.5)
    )
    z = rng.standard_normal((Z, h, w)) * min(spread, 2000.0)
    return encode_latents(
        np.clip(y, -8e6, 8e6), z, width=width, height=height, gray=gray, quality=quality, tile=tile,
        model=model, backend=NumpyBackend("int64"), metadata=metadata,
    )  # fmt: skip


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
    model = tiny_model()
    model.save(folder / "model")
    streams = {}
    for name in STREAMS:
        data, latents = golden_stream(name, model)
        (folder / f"{name}.bfc").write_bytes(data)
        streams[name] = {"bytes": hashlib.sha256(data).hexdigest(), "latents": latents_hash(latents)}
    hashes = {"fingerprint": model.fingerprint.hex(), "streams": streams}
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
