"""A codec small enough to know by heart: it keeps the high bits of every sample."""

from __future__ import annotations

import numpy as np

from bifocal.measure.bench import Measurement
from bifocal.measure.peers import FileCodec, Pixels


def toy_codec(name: str = "toy") -> FileCodec:
    """Qualities 1 to 8 keep that many bits; a file has 8 bytes of shape and one byte more per quality."""

    def encode(pixels: Pixels, quality: int) -> bytes:
        h, w = pixels.shape[:2]
        kept = pixels >> (8 - quality) << (8 - quality)
        return np.array([h, w], "<u4").tobytes() + bytes(quality) + kept.tobytes()

    def decode(data: bytes) -> Pixels:
        h, w = np.frombuffer(data[:8], "<u4").tolist()
        return np.frombuffer(data[-h * w * 3 :], np.uint8).reshape(h, w, 3)

    return FileCodec(name, "toy 1", (2, 4, 6), 1, 8, encode, decode)


def row(**changed: object) -> Measurement:
    """A row of a bench, with some fields changed."""
    fields: dict[str, object] = {
        "codec": "toy",
        "settings": "toy 1",
        "picture": "a.png",
        "fingerprint": "00",
        "quality": 4,
        "width": 20,
        "height": 10,
        "bytes": 100,
        "psnr": 30.0,
        "ms_ssim": 0.9,
        "encode_seconds": 0.1,
        "decode_seconds": 0.2,
    }
    return Measurement(**{**fields, **changed})  # type: ignore[arg-type]
