"""Codecs under one shape, so that one loop measures them all: Bifocal and its classical peers.

Every codec takes and gives uint8 RGB pixels and makes a whole file in memory; its size is the size of that
file. Qualities are whole numbers, higher is better, and are the codec's own: 60 means something different
to each. The peers run on one thread, with the settings that :attr:`FileCodec.settings` prints.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL import __version__ as pillow_version

from bifocal.measure import MeasureError
from bifocal.runtime.engines.onnxruntime import REFERENCE
from bifocal.runtime.model import DEFAULT_MODEL

Pixels = NDArray[np.uint8]

#: The classical codecs Bifocal is measured against.
PEERS = ("jpeg", "webp", "avif", "jpeg-xl")


@dataclass(frozen=True)
class FileCodec:
    """A codec that makes whole files, as the bench sees it.

    ``encode(pixels, quality)`` turns uint8 ``[h, w, 3]`` into the bytes of a file, ``decode(data)`` turns
    them back. ``curve`` are the qualities of its rate-distortion curve, ``lowest`` and ``highest`` the ends
    of its scale. ``settings`` names everything else that decides the bytes, versions included.
    """

    name: str
    settings: str
    curve: tuple[int, ...]
    lowest: int
    highest: int
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes], Pixels]


@dataclass(frozen=True)
class Sized:
    """A file made to a wanted size: the quality that came nearest, and the file."""

    quality: int
    data: bytes


def bifocal_codec(model: str | None = None, backend: str = REFERENCE) -> FileCodec:
    """Bifocal itself. ``model`` is the name or folder of a packed model, the shipped one unless given;
    ``backend`` computes the pixels when it decodes.
    """
    import bifocal

    loaded = bifocal.Model.load(DEFAULT_MODEL if model is None else model, backend=backend)

    def encode(pixels: Pixels, quality: int) -> bytes:
        return bifocal.encode(pixels, quality=quality, model=loaded)

    def decode(data: bytes) -> Pixels:
        return bifocal.decode(data, model=loaded).pixels

    entropy = loaded.entropy
    settings = f"bifocal {bifocal.__version__}, model {entropy.name} {entropy.fingerprint.hex()}"
    settings += "" if backend == REFERENCE else f", pixels by {backend}"
    return FileCodec(
        "bifocal", settings, (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100), 1, 100, encode, decode
    )


def jpeg() -> FileCodec:
    """Baseline JPEG, 4:4:4, Huffman tables optimised."""
    return FileCodec(
        "jpeg",
        f"Pillow {pillow_version}, libjpeg-turbo {_version('libjpeg_turbo')}, 4:4:4, optimize",
        (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95),
        1,
        95,
        lambda pixels, quality: _save(pixels, "JPEG", quality=quality, subsampling="4:4:4", optimize=True),
        _load,
    )


def webp() -> FileCodec:
    """Lossy WebP, which is always 4:2:0, at its slowest method."""
    return FileCodec(
        "webp",
        f"Pillow {pillow_version}, libwebp {_version('webp')}, method 6",
        (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95),
        1,
        100,
        lambda pixels, quality: _save(pixels, "WEBP", quality=quality, method=6),
        _load,
    )


def avif(speed: int = 4) -> FileCodec:
    """AVIF by libaom, 4:4:4, tuned for PSNR (its default tune scores lower)."""
    options = {"subsampling": "4:4:4", "speed": speed, "codec": "aom", "advanced": {"tune": "psnr"}}
    library = f"Pillow {pillow_version}, libavif {_version('avif')}"
    return FileCodec(
        "avif",
        f"{library}, aom, 4:4:4, speed {speed}, tune=psnr, 1 thread",
        (5, 10, 20, 30, 40, 50, 60, 70, 80, 90),
        1,
        99,
        lambda pixels, quality: _save(pixels, "AVIF", quality=quality, max_threads=1, **options),
        _load,
    )


def jpeg_xl() -> FileCodec:
    """JPEG XL through imagecodecs, effort 7; quality maps to distance as in libjxl's own tools."""
    codecs = import_module("imagecodecs")

    def encode(pixels: Pixels, quality: int) -> bytes:
        settings = {"effort": 7, "distance": jpeg_xl_distance(quality), "numthreads": 1}
        return bytes(codecs.jpegxl_encode(np.ascontiguousarray(pixels), **settings))

    def decode(data: bytes) -> Pixels:
        return np.asarray(codecs.jpegxl_decode(data, numthreads=1), np.uint8)

    return FileCodec(
        "jpeg-xl",
        f"imagecodecs {codecs.__version__}, {codecs.jpegxl_version()}, effort 7, 1 thread",
        (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95),
        1,
        99,
        encode,
        decode,
    )


def jpeg_xl_distance(quality: int) -> float:
    """The Butteraugli distance libjxl takes for a quality (``JxlEncoderDistanceFromQuality``).

    >>> jpeg_xl_distance(90)
    1.0
    """
    if quality >= 30:
        return round(0.1 + (100 - quality) * 0.09, 4)
    return round(53.0 / 3000.0 * quality**2 - 23.0 / 20.0 * quality + 25.0, 4)


def available_peers(
    names: Iterable[str] = PEERS, *, avif_speed: int = 4
) -> tuple[list[FileCodec], list[str]]:
    """The classical codecs this environment can run, and one sentence for each that it cannot.

    Raises MeasureError for a name that is not a peer.
    """
    makers: dict[str, tuple[Callable[[], FileCodec], bool, str]] = {
        "jpeg": (jpeg, True, ""),
        "webp": (webp, bool(features.check("webp")), "this Pillow has no WebP"),
        "avif": (
            lambda: avif(avif_speed),
            bool(features.check("avif")),
            "this Pillow has no AVIF (11.3 and later have)",
        ),
        "jpeg-xl": (jpeg_xl, find_spec("imagecodecs") is not None, "imagecodecs is not installed"),
    }
    found: list[FileCodec] = []
    missing: list[str] = []
    for name in names:
        if name not in makers:
            raise MeasureError(f"There is no peer called {name!r}: choose among {', '.join(makers)}.")
        make, works, reason = makers[name]
        if works:
            found.append(make())
        else:
            missing.append(f"{name} is left out: {reason}.")
    return found, missing


def encode_near(codec: FileCodec, pixels: Pixels, size: int, memo: dict[int, bytes] | None = None) -> Sized:
    """The file of ``codec`` whose length is nearest to ``size`` bytes, by bisection over its qualities.

    Sizes that dip now and then as quality rises cost at most a step or two of precision. ``memo`` keeps the
    files tried, for further searches on the same picture.

    >>> toy = FileCodec("toy", "", (), 0, 9, lambda pixels, quality: bytes(10 * quality), lambda data: pixels)
    >>> encode_near(toy, np.zeros((1, 1, 3), np.uint8), 47).quality
    5
    """
    tried = {} if memo is None else memo

    def at(quality: int) -> bytes:
        if quality not in tried:
            tried[quality] = codec.encode(pixels, quality)
        return tried[quality]

    low, high = codec.lowest, codec.highest
    while high - low > 1:
        middle = (low + high) // 2
        if len(at(middle)) < size:
            low = middle
        else:
            high = middle
    best = min((low, high), key=lambda quality: abs(len(at(quality)) - size))
    return Sized(best, at(best))


def _save(pixels: Pixels, container: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, container, **options)
    return file.getvalue()


def _load(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def _version(feature: str) -> str:
    return str(features.version(feature))
