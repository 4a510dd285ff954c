"""What passes between the rooms: small, frozen, NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError, PictureError


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright: ``pixels`` uint8, ``[h, w, 3]`` RGB or ``[h, w]`` gray, its alpha and metadata.

    ``metadata`` maps a lower-case key of at most four letters or digits (``icc``, ``exif``, ``xmp``) to bytes
    that Bifocal stores and gives back without looking inside. ``alpha`` is uint8 ``[h, w]``, 0 transparent to
    255 opaque, not multiplied into the pixels; None says that every pixel is opaque.

    >>> Picture(np.zeros((2, 3), np.uint8)).gray
    True
    """

    pixels: NDArray[np.uint8]
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    alpha: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            kind = getattr(pixels, "dtype", type(pixels).__name__)
            raise PictureError(f"a picture holds 8-bit pixels, not {kind}. Convert it to uint8 first.")
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
            raise PictureError(
                f"a picture has shape [h, w, 3] or [h, w], not {list(pixels.shape)}. Drop or add channels."
            )
        if 0 in pixels.shape:
            raise PictureError(f"a picture has at least one pixel; this one has shape {list(pixels.shape)}.")
        alpha = self.alpha
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]):
            raise PictureError(
                f"alpha is {alpha.dtype} {list(alpha.shape)}; it must be uint8 {list(pixels.shape[:2])}, one "
                "value for each pixel. Convert it first."
            )
        if "alph" in self.metadata:
            raise PictureError("metadata key 'alph' is taken: give transparency as Picture(alpha=...).")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def gray(self) -> bool:
        return self.pixels.ndim == 2

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """NumPy's array protocol, of the pixels alone: ``np.asarray`` takes a Picture as it is."""
        return self.pixels.__array_interface__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Picture):
            return NotImplemented
        same = np.array_equal(self.pixels, other.pixels) and dict(self.metadata) == dict(other.metadata)
        if self.alpha is None or other.alpha is None:
            return same and self.alpha is other.alpha
        return same and np.array_equal(self.alpha, other.alpha)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Latents:
    """The waist: what a stream holds, as integers, the same on every machine.

    ``y`` is int32 ``[c, h, w]`` in fixed point (the latent times 2^fraction of the model's plan, 2^4 for
    wire id 1), ``z`` int32 ``[c, h, w]`` plain. ``width`` and ``height`` are the picture's true size in
    pixels, ``quality`` 1 to 100, ``tile`` the side of a tile in pixels. ``model`` and ``fingerprint`` say
    whose they are. Two Latents are equal if every field is; ``model`` is only a name and does not count.
    """

    y: NDArray[np.int32]
    z: NDArray[np.int32]
    width: int
    height: int
    gray: bool
    quality: int
    tile: int
    model: str
    fingerprint: bytes

    def __post_init__(self) -> None:
        for name, array in (("y", self.y), ("z", self.z)):
            if not isinstance(array, np.ndarray) or array.dtype != np.int32 or array.ndim != 3:
                raise LatentsError(f"latents are int32 [c, h, w]; {name} is not. Take them from unpack().")
        if self.width < 1 or self.height < 1 or not 1 <= self.quality <= 100:
            raise LatentsError(
                f"latents of a {self.width}×{self.height} picture at quality {self.quality} cannot exist: "
                "a picture has at least one pixel and a quality from 1 to 100."
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Latents):
            return NotImplemented
        mine = (self.width, self.height, self.gray, self.quality, self.tile, self.fingerprint)
        theirs = (other.width, other.height, other.gray, other.quality, other.tile, other.fingerprint)
        return mine == theirs and np.array_equal(self.y, other.y) and np.array_equal(self.z, other.z)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Labels:
    """What a head says of a picture: ``names`` of its classes, most likely first, and their ``probabilities``
    float32 in the same order, which sum to 1. ``head`` is the head's name.

    For a head that selects tokens, ``kept`` holds a map for each stage, bool ``[rows, columns]``: which
    tokens, of ``token`` pixels a side, were still computed after it. It is empty for a dense head. That may
    say instead what each token tells: ``evidence`` float32 ``[classes, rows, columns]``, in the order of
    ``names``; the mean over a picture that the head sees at once is the logit of a class. None if the head
    does not say, or if it would be more than 2²⁴ numbers.

    >>> labels = Labels(("church", "dog"), np.array([0.75, 0.25], np.float32), "imagenette")
    >>> labels.name, labels.top(1)
    ('church', [('church', 0.75)])
    """

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    head: str
    token: int = 16
    kept: tuple[NDArray[np.bool_], ...] = ()
    evidence: NDArray[np.float32] | None = None

    @property
    def name(self) -> str:
        """The most likely class."""
        return self.names[0]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The ``count`` most likely classes and their probabilities."""
        return list(zip(self.names[:count], self.probabilities[:count].tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Labels):
            return NotImplemented
        mine = (self.names, self.head, self.token, len(self.kept), self.evidence is None)
        theirs = (other.names, other.head, other.token, len(other.kept), other.evidence is None)
        maps = zip(self._maps(), other._maps(), strict=False)
        return mine == theirs and all(np.array_equal(one, two) for one, two in maps)

    def _maps(self) -> list[NDArray[Any]]:
        told = [] if self.evidence is None else [self.evidence]
        return [self.probabilities, *self.kept, *told]

    __hash__ = None  # type: ignore[assignment]
