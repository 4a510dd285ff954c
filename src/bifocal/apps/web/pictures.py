"""The pictures that are open in the page: what each is, and what the page asks about it.

A picture may be large, so the page shows a window of it, of at most :data:`WINDOW_PIXELS`: all of a smaller
picture, the middle of a larger one. Everything that takes time is done under the picture's lock and kept.
"""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import bifocal
from bifocal.errors import OptionError
from bifocal.measure.metrics import psnr, rgb
from bifocal.measure.peers import FileCodec, available_peers, encode_near
from bifocal.pictures.reading import read_picture
from bifocal.runtime.decoding import decode_pixels
from bifocal.runtime.encoding import EFFORT, TILE, Encoder
from bifocal.runtime.heads.run import Head
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import Model
from bifocal.stream import container
from bifocal.stream.container import MAGIC
from bifocal.stream.limits import Limits

#: What the slider works on: a second or less for every quality.
WINDOW_PIXELS = 1 << 20
#: Open pictures, and results of each, that are kept.
KEPT, RESULTS = 8, 24
#: Encoding speed of AVIF: with a search for the size it takes seconds.
AVIF_SPEED = 8
PEERS = ("jpeg", "webp", "avif")

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Tools:
    """What pictures are coded and read with; ``detector`` finds boxes, if there is one."""

    model: Model
    head: Head
    detector: Head | None = None
    limits: Limits = field(default_factory=Limits)

    def options(self, data: bytes) -> dict[str, Any]:
        """How a stream is opened: with the page's model if it is of that, else with the one that it names."""
        header = container.read(data, self.limits).header
        ours = header.fingerprint == self.model.entropy.fingerprint
        return {"limits": self.limits, "model": self.model if ours else None}


@dataclass(frozen=True)
class Coded:
    """A window coded at one quality, and how long that took in seconds."""

    data: bytes
    pixels: Pixels
    psnr: float
    encode: float
    decode: float


class OpenPicture:
    """One open picture, or stream. ``file`` are its bytes, ``window`` what of it is shown.

    :raises PictureError: if it cannot be read.
    :raises StreamError: if it is a damaged stream.
    """

    def __init__(self, name: str, file: bytes, tools: Tools) -> None:
        self.name, self.size, self._tools = name, len(file), tools
        self.stream = file if file[: len(MAGIC)] == MAGIC else None
        self.lock = threading.Lock()
        self._results: OrderedDict[object, Any] = OrderedDict()
        if self.stream is not None:
            about = bifocal.info(self.stream, limits=tools.limits)
            self.width, self.height = about.width, about.height
            self.window = middle_window(self.width, self.height)
            shown = bifocal.decode(self.stream, box=self.window, **tools.options(self.stream))
            self.about = f"stream, quality {about.quality}, model {about.model}"
            self.caption = text_of(shown)
        else:
            picture = read_picture(io.BytesIO(file), max_pixels=tools.limits.pixels)
            self.width, self.height = picture.width, picture.height
            self.window = middle_window(self.width, self.height)
            left, top, right, bottom = self.window
            part = np.ascontiguousarray(picture.pixels[top:bottom, left:right])
            shown = bifocal.Picture(part)
            self.about = "gray picture" if picture.gray else "picture"
            self.caption = text_of(picture)
        self.original: Pixels = np.ascontiguousarray(rgb(shown.pixels))
        self._encoder = Encoder(shown.pixels, tools.model, tile=TILE, keep=True, lossless=False)

    def describe(self) -> dict[str, Any]:
        """What the page says of the picture before anything is computed."""
        return {
            "name": plain(self.name),
            "width": self.width,
            "height": self.height,
            "bytes": self.size,
            "window": self.window,
            "whole": self.window == (0, 0, self.width, self.height),
            "stream": self.stream is not None,
            "about": plain(self.about),
            "caption": plain(self.caption),
        }

    def coded(self, quality: int) -> Coded:
        """The window, coded and decoded."""

        def make() -> Coded:
            begun = time.perf_counter()
            data = self._encoder.encode(quality, effort=EFFORT).data
            middle = time.perf_counter()
            pixels = rgb(decode_pixels(container.read(data), self._tools.model))
            end = time.perf_counter()
            return Coded(data, pixels, psnr(self.original, pixels), middle - begun, end - middle)

        made: Coded = self._kept(("coded", quality), make)
        return made

    def peer(self, codec: str, quality: int) -> tuple[int, int, Pixels]:
        """Another codec's file that comes nearest to the bytes of ours: its quality, bytes and pixels."""
        wanted = len(self.coded(quality).data)

        def make() -> tuple[int, int, Pixels]:
            peer = peer_codec(codec)
            found = encode_near(peer, self.original, wanted)
            return found.quality, len(found.data), peer.decode(found.data)

        made: tuple[int, int, Pixels] = self._kept(("peer", codec, quality), make)
        return made

    def stream_at(self, quality: int) -> bytes:
        """The stream that is read: the file itself for quality 0, where it is one, or the coded window."""
        if quality == 0:
            if self.stream is None:
                raise OptionError("this picture is no stream; choose a quality from 1 to 100.")
            return self.stream
        return self.coded(quality).data

    def labels(self, quality: int) -> tuple[bifocal.Labels, float]:
        """Labels of the stream with their evidence, and the seconds that reading took: nothing is decoded."""
        data = self.stream_at(quality)
        options = {"head": self._tools.head, **self._tools.options(data)}

        def make() -> tuple[bifocal.Labels, float]:
            begun = time.perf_counter()
            bifocal.analyse(data, **options)
            seconds = time.perf_counter() - begun
            return bifocal.analyse(data, evidence=True, **options), seconds

        made: tuple[bifocal.Labels, float] = self._kept(("labels", quality), make)
        return made

    def low(self, quality: int) -> tuple[Pixels, float, float, int]:
        """The picture of the low band, a sixteenth as wide: pixels, seconds, the bytes that it takes of the
        stream, and those of the whole stream."""
        data = self.stream_at(quality)

        def make() -> tuple[Pixels, float, float, int]:
            stream = container.read(data, self._tools.limits)
            begun = time.perf_counter()
            pixels = rgb(bifocal.decode(data, scale="1/16", **self._tools.options(data)).pixels)
            seconds = time.perf_counter() - begun
            model = self._tools.model
            if stream.header.fingerprint != model.entropy.fingerprint:
                return pixels, seconds, float("nan"), len(data)
            bits = read_latents(stream, model, model.entropy.plan.groups[0].stop).bits
            return pixels, seconds, float(bits.sum()) / 8, len(data)

        made: tuple[Pixels, float, float, int] = self._kept(("low", quality), make)
        return made

    def boxes(self, quality: int) -> bifocal.Boxes:
        """What the detector finds in the window or, if it reads streams, in the coded window."""
        detector = self._tools.detector
        if detector is None:
            raise OptionError("no detector was given. Start the page with --detector FILE.bfd.")
        reads_latents = detector.spec.reads == "latents"
        seen: Any = self.coded(quality).data if reads_latents else self.coded(quality).pixels
        model = self._tools.model if reads_latents else None
        made: bifocal.Boxes = self._kept(
            ("boxes", quality), lambda: bifocal.detect(seen, detector=detector, model=model)
        )
        return made

    def _kept(self, key: object, make: Any) -> Any:
        with self.lock:
            if key in self._results:
                self._results.move_to_end(key)
                return self._results[key]
        made = make()
        with self.lock:
            self._results[key] = made
            while len(self._results) > RESULTS:
                self._results.popitem(last=False)
        return made


class Shelf:
    """The open pictures, the last :data:`KEPT` of them."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[int, OpenPicture] = OrderedDict()
        self._lock = threading.Lock()
        self._next = 0

    def add(self, picture: OpenPicture) -> int:
        with self._lock:
            self._next += 1
            self._pictures[self._next] = picture
            while len(self._pictures) > KEPT:
                self._pictures.popitem(last=False)
            return self._next

    def __getitem__(self, number: int) -> OpenPicture:
        with self._lock:
            if number not in self._pictures:
                raise OptionError(f"this picture is no longer open; the last {KEPT} are. Drop it again.")
            self._pictures.move_to_end(number)
            return self._pictures[number]


def middle_window(width: int, height: int) -> tuple[int, int, int, int]:
    """All of a picture, or a part of its middle, of sides that are multiples of 16.

    >>> middle_window(640, 480), middle_window(8000, 6000)
    ((0, 0, 640, 480), (3488, 2488, 4512, 3512))
    """
    if width * height <= WINDOW_PIXELS:
        return 0, 0, width, height
    side = int(WINDOW_PIXELS**0.5)
    w = min(width, max(side, WINDOW_PIXELS // height) // 16 * 16)
    h = min(height, WINDOW_PIXELS // w // 16 * 16)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def peer_codec(name: str) -> FileCodec:
    """One of :data:`PEERS`.

    :raises OptionError: if it is none, or this installation lacks it.
    """
    if name not in PEERS:
        raise OptionError(f"there is no codec {name!r} here; choose {', '.join(PEERS)}.")
    found, missing = available_peers((name,), avif_speed=AVIF_SPEED)
    if missing:
        raise OptionError(missing[0])
    return found[0]


def png(pixels: Pixels) -> bytes:
    """A PNG file, made quickly; of uint8 ``[h, w, 3]`` or, with transparency, ``[h, w, 4]``."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def evidence_png(labels: bifocal.Labels, index: int, width: int, height: int) -> bytes:
    """The evidence for a class as a veil over a picture of ``width × height``: dark where there is little.

    :raises OptionError: if there is no such class, or no evidence.
    """
    if labels.evidence is None or not 0 <= index < len(labels.evidence):
        raise OptionError("there is no evidence for this class.")
    centred = labels.evidence - labels.evidence.mean(0)
    one = centred[index]
    one = (one - one.min()) / max(float(np.ptp(one)), 1e-6)
    rows, columns = one.shape
    size = columns * labels.token, rows * labels.token
    light = np.asarray(Image.fromarray(one.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    veil = np.zeros((min(height, light.shape[0]), min(width, light.shape[1]), 4), np.uint8)
    veil[..., 3] = np.rint(215 * (1 - light[: veil.shape[0], : veil.shape[1]])).astype(np.uint8)
    return png(veil)


def plain(text: str) -> str:
    """Text that JSON can hold: names of files need not be text."""
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(picture: bifocal.Picture) -> str:
    """The caption of a picture, if it has one."""
    return "" if picture.caption is None else picture.caption.text
