"""The values that pass between the packages: pictures, latents, labels, boxes. Small, frozen, NumPy only."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError, OptionError, PictureError

#: Numbers of length 1 to compare pictures by, ``[numbers]``: what :func:`bifocal.embed` makes.
Embedding = NDArray[np.float32]
#: Longest side in pixels of what a notebook shows of a picture.
_PREVIEW = 1024
#: Most bytes of a caption in UTF-8.
MAX_CAPTION = 1 << 16
_LANGUAGE = re.compile("[A-Za-z0-9]{1,8}(?:-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class Caption:
    """What a person or a program says of a picture: a line of text, and its ``language``, a BCP 47 tag such
    as ``en`` or ``zh-Hant``, or empty.

    The text has no control characters (see :meth:`of`), and 1 to 65,536 bytes in UTF-8.

    :raises OptionError: if it is none.

    >>> Caption.of("a red cup\\n on a table ", "en")
    Caption(text='a red cup on a table', language='en')
    """

    text: str
    language: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not isinstance(self.language, str):
            raise OptionError("a caption and its language are text. Give str, not bytes.")
        if not self.text.strip():
            raise OptionError("the caption is empty. Give some text, or leave it out.")
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in self.text):
            raise OptionError("the caption has control characters. Caption.of(text) takes them out.")
        if (size := len(self.text.encode())) > MAX_CAPTION:
            raise OptionError(f"the caption has {size} bytes; streams hold {MAX_CAPTION}. Shorten it.")
        if self.language and (len(self.language) > 35 or not _LANGUAGE.fullmatch(self.language)):
            raise OptionError(f"{self.language!r} is no language tag. Give one such as en, de or zh-Hant.")

    @classmethod
    def of(cls, text: str, language: str = "") -> Caption:
        """A caption of text in any form: runs of white space become one space, control characters and halves
        of surrogate pairs go, accents are composed (NFC)."""
        if not isinstance(text, str):
            raise OptionError(f"the caption is a {type(text).__name__}; give text.")
        kept = (c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
        return cls(unicodedata.normalize("NFC", " ".join("".join(kept).split())), language)

    @property
    def shown(self) -> str:
        """The text as a terminal may show it: what turns or hides text around it is escaped.

        >>> Caption("left \\u202e right").shown
        'left \\\\u202e right'
        """
        return "".join(c if c.isprintable() or c in _JOINERS else f"\\u{ord(c):04x}" for c in self.text)


#: Without width, but needed to write Persian, Indian scripts and emoji.
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A picture, upright: ``pixels`` uint8, ``[h, w, 3]`` RGB or ``[h, w]`` gray, its alpha and metadata.

    ``metadata`` maps a lower-case key of at most four letters or digits (``icc``, ``exif``, ``xmp``) to bytes
    that Bifocal stores and gives back without looking inside. ``alpha`` is uint8 ``[h, w]``, 0 transparent to
    255 opaque, not multiplied into the pixels; None if every pixel is opaque. ``plane`` is one more plane of
    the same size, such as infrared or depth, uint8 ``[h, w]``, or None. ``caption`` says what it shows.

    >>> Picture(np.zeros((2, 3), np.uint8), {"icc": b"profile"})
    Picture(3×2 gray, icc)
    """

    pixels: NDArray[np.uint8]
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    alpha: NDArray[np.uint8] | None = None
    plane: NDArray[np.uint8] | None = None
    caption: Caption | None = None

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
        self._check_beside("alpha", self.alpha)
        self._check_beside("plane", self.plane)
        self._check_metadata()
        if self.caption is not None and not isinstance(self.caption, Caption):
            raise PictureError(f"caption is a {type(self.caption).__name__}; give a bifocal.Caption.")

    def _check_beside(self, name: str, values: NDArray[np.uint8] | None) -> None:
        wanted = self.pixels.shape[:2]
        if values is None:
            return
        if not isinstance(values, np.ndarray):
            raise PictureError(
                f"{name} is a {type(values).__name__}; it must be an array, uint8 {list(wanted)}."
            )
        if values.dtype != np.uint8 or values.shape != wanted:
            raise PictureError(
                f"{name} is {values.dtype} {list(values.shape)}; it must be uint8 {list(wanted)}, one "
                "value for each pixel. Convert it first."
            )

    def _check_metadata(self) -> None:
        if not isinstance(self.metadata, Mapping):
            raise PictureError(
                f"metadata is a {type(self.metadata).__name__}; give a dict such as {{'exif': b'...'}}."
            )
        for key, value in self.metadata.items():
            if not isinstance(key, str):
                raise PictureError(f"metadata key {key!r} is not text. Use a short name such as 'exif'.")
            if not isinstance(value, bytes):
                raise PictureError(
                    f"metadata '{key}' is a {type(value).__name__}; it must be bytes. For text: .encode()."
                )
        if "alph" in self.metadata:
            raise PictureError("metadata key 'alph' is taken: give transparency as Picture(alpha=...).")
        if "plne" in self.metadata:
            raise PictureError("metadata key 'plne' is taken: give one more plane as Picture(plane=...).")
        if "capt" in self.metadata:
            raise PictureError("metadata key 'capt' is taken: give a caption as Picture(caption=...).")
        if "filt" in self.metadata:
            raise PictureError("metadata key 'filt' is taken: encoders write it. Choose another key.")

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

    def __repr__(self) -> str:
        kind = ("gray" if self.gray else "RGB") + ("" if self.alpha is None else " with alpha")
        kind += "" if self.plane is None else " with a plane"
        metadata = f", {' '.join(sorted(self.metadata))}" if self.metadata else ""
        return f"Picture({self.width}×{self.height} {kind}{metadata})"

    def _repr_png_(self) -> bytes:
        """What a notebook shows: a PNG, scaled down to at most 1024 pixels a side."""
        from PIL import Image

        array = self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])
        image = Image.fromarray(np.ascontiguousarray(array))
        image.thumbnail((_PREVIEW, _PREVIEW), reducing_gap=2.0)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", icc_profile=self.metadata.get("icc"))
        return buffer.getvalue()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Picture):
            return NotImplemented
        same = np.array_equal(self.pixels, other.pixels) and dict(self.metadata) == dict(other.metadata)
        same = same and self.caption == other.caption
        beside = ((self.alpha, other.alpha), (self.plane, other.plane))
        return same and all(
            one is two if one is None or two is None else np.array_equal(one, two) for one, two in beside
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False, repr=False)
class Latents:
    """What a stream holds, as integers: the same on every machine.

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

    def __repr__(self) -> str:
        y, z = ("×".join(map(str, array.shape)) for array in (self.y, self.z))
        kind = "gray" if self.gray else "RGB"
        return (
            f"Latents({self.width}×{self.height} {kind}, quality {self.quality}, y {y}, z {z}, {self.model})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Latents):
            return NotImplemented
        mine = (self.width, self.height, self.gray, self.quality, self.tile, self.fingerprint)
        theirs = (other.width, other.height, other.gray, other.quality, other.tile, other.fingerprint)
        return mine == theirs and np.array_equal(self.y, other.y) and np.array_equal(self.z, other.z)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False, repr=False)
class Labels:
    """The classes of a picture by a head: ``names``, most likely first, and their ``probabilities``, float32
    in the same order, which sum to 1. ``head`` is the head's name.

    For a head that selects tokens, ``kept`` holds a map for each stage, bool ``[rows, columns]``: which
    tokens, of ``token`` pixels a side, were still computed after it. It is empty for a dense head.
    ``evidence``, float32 ``[classes, rows, columns]`` in the order of ``names``, is what each token
    contributes to each class: its mean over a picture that the head sees at once is the logit of the class.
    None if the head has none, or if it would be more than 2²⁴ numbers. From the probability ``trusted`` on,
    which is on the card of the head, its labels are right nearly always: then they are ``confident``.

    >>> labels = Labels(("church", "dog"), np.array([0.75, 0.25], np.float32), "imagenette")
    >>> labels.name, labels.top(1)
    ('church', [('church', 0.75)])
    >>> labels
    Labels(church 75.0 %, dog 25.0 %, by imagenette)
    """

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    head: str
    token: int = 16
    kept: tuple[NDArray[np.bool_], ...] = ()
    evidence: NDArray[np.float32] | None = None
    trusted: float = 0.7

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.top(3))
        more = f", … {len(self.names) - 3} more" if len(self.names) > 3 else ""
        return f"Labels({best}{more}, by {self.head})"

    @property
    def name(self) -> str:
        """The most likely class."""
        return self.names[0]

    @property
    def confident(self) -> bool:
        """Whether the most likely class is so likely that it can be trusted."""
        return bool(self.probabilities[0] >= self.trusted)

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
        evidence = [] if self.evidence is None else [self.evidence]
        return [self.probabilities, *self.kept, *evidence]

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False, repr=False)
class Boxes:
    """The objects in a picture by a detector, the likeliest first: for each a name, its ``corners`` float32
    ``[n, 4]`` (left, top, right, bottom in pixels) and a score of 0 to 1, float32 ``[n]``.

    ``width`` and ``height`` are those of the picture, ``detector`` is the detector's name.

    >>> corners = np.array([[2, 3, 14, 15], [20, 3, 30, 15]], np.float32)
    >>> boxes = Boxes(("car", "car"), corners, np.array([0.9, 0.5], np.float32), 64, 48, "mine")
    >>> boxes, len(boxes), boxes.rows()[0]
    (Boxes(2 car, by mine), 2, {'name': 'car', 'score': 0.9, 'box': [2.0, 3.0, 14.0, 15.0]})
    """

    names: tuple[str, ...]
    corners: NDArray[np.float32]
    scores: NDArray[np.float32]
    width: int
    height: int
    detector: str

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        counts = Counter(self.names).most_common()
        found = ", ".join(f"{count} {name}" for name, count in counts[:5]) or "nothing"
        more = f", … {len(counts) - 5} more classes" if len(counts) > 5 else ""
        return f"Boxes({found}{more}, by {self.detector})"

    def rows(self) -> list[dict[str, Any]]:
        """Each box as a dict of ``name``, ``score`` and ``box``, as JSON takes it."""
        rounded = zip(self.names, self.scores.tolist(), self.corners.tolist(), strict=True)
        return [
            {"name": name, "score": round(score, 4), "box": [round(side, 1) for side in box]}
            for name, score, box in rounded
        ]

    def draw(self, picture: Picture) -> Picture:
        """The picture with a frame around each object, in one colour a class.

        :raises PictureError: if it has another size than the one that was looked at.
        """
        from PIL import Image, ImageDraw

        if (picture.width, picture.height) != (self.width, self.height):
            raise PictureError(
                f"these boxes are of a picture of {self.width}×{self.height} pixels, and this one has "
                f"{picture.width}×{picture.height}. Draw them on the picture that they were found in."
            )
        image = Image.fromarray(picture.pixels).convert("RGB")
        pen, kinds = ImageDraw.Draw(image), sorted(set(self.names))
        for name, corners in zip(reversed(self.names), self.corners[::-1].tolist(), strict=True):
            left, top, right, bottom = corners
            colour = f"hsl({137 * kinds.index(name) % 360}, 100%, 60%)"
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour)
        return Picture(np.asarray(image), picture.metadata)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Boxes):
            return NotImplemented
        mine = (self.names, self.width, self.height, self.detector)
        theirs = (other.names, other.width, other.height, other.detector)
        arrays = zip((self.corners, self.scores), (other.corners, other.scores), strict=True)
        return mine == theirs and all(np.array_equal(one, two) for one, two in arrays)

    __hash__ = None  # type: ignore[assignment]
