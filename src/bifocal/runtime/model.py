"""A packed model in use: its entropy model, gains, and the float halves on ONNX Runtime.

Left of the waist, :meth:`Model.transform` and :meth:`Model.at_quality` turn pixels into gained float latents,
a box at a time; right of it, :meth:`Model.render` turns decoded integer latents into pixels, fetching them as
it goes. Both run window by window, so memory stays bounded for pictures of any size. Between them,
:mod:`bifocal.stream.latents` works with :attr:`Model.entropy`.
"""

from __future__ import annotations

import copy
import math
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError, ModelError, OptionError
from bifocal.runtime.engines.exact_onnxruntime import OrtBackend
from bifocal.runtime.engines.float_engines import REFERENCE, Half, check_backend, open_half
from bifocal.runtime.registry import model_folder, read_spec
from bifocal.runtime.windows import Box, boxes, cut_padded, padded_size, windows
from bifocal.stream.latents import EntropyModel
from bifocal.stream.limits import TILE_UNIT
from bifocal.types import Latents

if TYPE_CHECKING:
    from bifocal.stream.exact import Backend

#: Side of a window's core in pixels: larger ones take more memory, smaller ones recompute more halo.
CORE = 1088
#: Pixels that a window computes beyond its core: as far as the receptive field of each network reaches.
HALO = {"analysis": 80, "synthesis": 96, "half": 48, "thumb": 64}
#: Pixels of y beyond a box that the hyper-latent of the box depends on.
MARGIN = 64
#: Side of the boxes in which :meth:`Model.analyse` works.
BLOCK = 2048
#: Gains are stored as integers in this unit.
GAIN_UNIT = 2.0**-16


#: For each reduction: the network, the side in pixels of what one pixel of it shows, and of its averages.
_REDUCED = {
    1: ("synthesis", 1, 1),
    2: ("half", 2, 1),
    4: ("half", 2, 2),
    8: ("half", 2, 4),
    16: ("thumb", 16, 1),
}
REDUCTIONS = tuple(_REDUCED)


def available_reductions(folder: Path) -> tuple[int, ...]:
    """Those of ``REDUCTIONS`` that the model in ``folder`` has a network for."""
    return tuple(n for n, (name, *_) in _REDUCED.items() if (folder / f"{name}.onnx").exists())


class FloatLatents(NamedTuple):
    """Analysis of a picture: ``y`` in steps ``[c, H/16, W/16]`` and ``z`` ``[c, H/64, W/64]``, float32."""

    y: NDArray[np.float32]
    z: NDArray[np.float32]


class Transformed(NamedTuple):
    """A box of a picture after the costly half of analysis, which no quality enters.

    ``y`` float32 ``[c, h, w]``, before gains, with a margin around the box; ``box`` (left, top, right,
    bottom) is the box inside it, in pixels of the picture counted from the corner of ``y``.
    """

    y: NDArray[np.float32]
    box: Box


class Fetch(Protocol):
    """Gives decoded y, int32 ``[c, h, w]``, for rows and columns of y; asked for from top to bottom."""

    def __call__(self, rows: slice, columns: slice) -> NDArray[np.int32]: ...


class Model:
    """A packed model, opened from its folder with :meth:`load`. Sessions are made on first use.

    ``name`` and ``folder`` say which it is; ``entropy`` is all that packing and unpacking need, ``backend``
    runs its exact networks; ``float_backend`` names what runs its decoding float networks. Safe to share
    between threads.
    """

    def __init__(
        self,
        folder: Path,
        entropy: EntropyModel,
        *,
        threads: int | None = None,
        float_backend: str = REFERENCE,
    ) -> None:
        self.folder, self.entropy, self._threads = folder, entropy, threads
        self.name, self.float_backend = entropy.name, check_backend(float_backend)
        self._halves: dict[str, Half] = {}
        self._siblings = {self.float_backend: self}

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str],
        *,
        threads: int | None = None,
        float_backend: str = REFERENCE,
    ) -> Model:
        """Load an installed model by name, or any packed model by its folder.

        :param threads: processors that one network may use; all by default.
        :param float_backend: runs the networks that give pixels: one of ``runtime.halves.BACKENDS``.
        :raises ModelError: if there is none, or it is damaged.
        :raises OptionError: if the backend does not exist or is not installed.
        """
        folder = model_folder(name)
        return cls(folder, EntropyModel.load(folder), threads=threads, float_backend=float_backend)

    def on(self, float_backend: str) -> Model:
        """This model with its pixels from another backend; always the same object for the same backend.

        :raises OptionError: if the backend does not exist or is not installed.
        """
        if float_backend not in self._siblings:
            _ = self.backend  # made once: the exact networks are the same objects in all siblings
            sibling = copy.copy(self)
            sibling.float_backend, sibling._halves = check_backend(float_backend), {}
            self._siblings[float_backend] = sibling
        return self._siblings[float_backend]

    @cached_property
    def backend(self) -> Backend:
        """Runs the exact networks. ONNX Runtime: half the time of NumPy where we measured."""
        return OrtBackend(self.folder, threads=self._threads)

    def analyse(self, pixels: NDArray[np.uint8], quality: int) -> FloatLatents:
        """Latents of ``pixels`` ``[h, w, 3]`` or ``[h, w]``, padded right and below, with the quality's gain.

        :raises OptionError: if ``quality`` is not 1 to 100.
        """
        plan = self.entropy.plan
        h, w = (padded_size(side, TILE_UNIT) for side in pixels.shape[:2])
        y = np.empty((plan.y_channels, h // plan.y_stride, w // plan.y_stride), np.float32)
        z = np.empty((plan.z_channels, h // plan.z_stride, w // plan.z_stride), np.float32)
        for box in boxes(w, h, BLOCK):
            parts = self.at_quality(self.transform(pixels, box), quality)
            for whole, part, stride in zip((y, z), parts, (plan.y_stride, plan.z_stride), strict=True):
                whole[:, box[1] // stride : box[3] // stride, box[0] // stride : box[2] // stride] = part
        return FloatLatents(y, z)

    def transform(self, pixels: NDArray[np.uint8], box: Box) -> Transformed:
        """The part of analysis that no quality enters, for a ``box`` of the padded picture.

        :param pixels: uint8 ``[h, w, 3]`` or ``[h, w]``, the whole picture, not padded.
        :param box: left, top, right, bottom in pixels, multiples of 64 inside the padded picture.
        """
        plan = self.entropy.plan
        h, w = (padded_size(side, TILE_UNIT) for side in pixels.shape[:2])
        left, top, right, bottom = box
        outer = max(left - MARGIN, 0), max(top - MARGIN, 0), min(right + MARGIN, w), min(bottom + MARGIN, h)
        shape = ((outer[3] - outer[1]) // plan.y_stride, (outer[2] - outer[0]) // plan.y_stride)
        y = np.empty((plan.y_channels, *shape), np.float32)
        core, halo = self._window("analysis")
        for rows, columns in windows(h, w, core=core, halo=halo, multiple=TILE_UNIT, box=outer):
            window = cut_padded(pixels, rows.outer(1), columns.outer(1))
            if window.ndim == 2:  # gray is coded as a picture without colour
                window = np.broadcast_to(window[:, :, None], (*window.shape, 3))
            feeds = {"pixels": np.ascontiguousarray(window.transpose(2, 0, 1)[None], np.float32)}
            part = self._run("analysis", ["y"], feeds)[0][0]
            into = (
                slice((span.start - start) // plan.y_stride, (span.stop - start) // plan.y_stride)
                for span, start in ((rows, outer[1]), (columns, outer[0]))
            )
            y[:, *into] = part[:, rows.inner(plan.y_stride), columns.inner(plan.y_stride)]
        return Transformed(y, (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]))

    def at_quality(self, transformed: Transformed, quality: int) -> FloatLatents:
        """The latents of the box of ``transformed`` at a quality: cheap beside :meth:`transform`.

        :raises OptionError: if ``quality`` is not 1 to 100.
        """
        if not 1 <= quality <= 100:
            raise OptionError(f"quality is {quality}; choose 1 (smallest file) to 100 (best picture).")
        plan = self.entropy.plan
        y = transformed.y * self._gain("gain", quality)
        z = self._run("hyper_analysis", ["z"], {"y": y[None]})[0][0]
        left, top, right, bottom = transformed.box
        y, z = (
            whole[:, top // stride : bottom // stride, left // stride : right // stride]
            for whole, stride in ((y, plan.y_stride), (z, plan.z_stride))
        )
        return FloatLatents(y, z)

    def synthesise(self, latents: Latents) -> NDArray[np.uint8]:
        """The picture of decoded ``latents``: uint8 ``[h, w, 3]``, or ``[h, w]`` if they are of a gray one.

        :raises LatentsError: if they are another model's.
        """
        if latents.fingerprint != self.entropy.fingerprint:
            raise LatentsError(
                f"these latents are of model {latents.model} ({latents.fingerprint.hex()}), not of "
                f"{self.name} "
                f"({self.entropy.fingerprint.hex()}). Synthesise them with the model that made them."
            )
        return self.render(
            lambda rows, columns: latents.y[:, rows, columns],
            width=latents.width,
            height=latents.height,
            quality=latents.quality,
            gray=latents.gray,
        )

    def render(
        self,
        fetch: Fetch,
        *,
        width: int,
        height: int,
        quality: int,
        gray: bool,
        box: Box | None = None,
        reduction: int = 1,
    ) -> NDArray[np.uint8]:
        """Pixels of a picture, or of a ``box`` of it, from latents that ``fetch`` gives window by window.

        A window depends on the size of the picture and never on the box, so the pixels of a box are those of
        the whole. With ``reduction`` (one of ``REDUCTIONS``) both sides are divided by it, rounded up, and
        the box outwards. For 16, ``fetch`` gives the channels of the first band alone.

        :raises ModelError: if the model lacks the network of this reduction.
        """
        name, stride, average = _REDUCED[reduction]
        if reduction not in available_reductions(self.folder):
            raise ModelError(
                f"model {self.name} has no {name} network and cannot decode at this scale. Decode at scale 1 "
                "and resize, or pack it again from a checkpoint that has one."
            )
        plan, (core, halo) = self.entropy.plan, self._window(name)
        left, top, right, bottom = reduce_box(box or (0, 0, width, height), reduction)
        pixels = np.empty((bottom - top, right - left) if gray else (bottom - top, right - left, 3), np.uint8)
        h, w = padded_size(height, TILE_UNIT), padded_size(width, TILE_UNIT)
        for rows, columns in windows(h, w, core=core, halo=halo, multiple=TILE_UNIT):
            of_rows, into_rows = _overlap(rows.core(reduction), top, bottom)
            of_columns, into_columns = _overlap(columns.core(reduction), left, right)
            if of_rows.start >= of_rows.stop or of_columns.start >= of_columns.stop:
                continue
            part = fetch(rows.outer(plan.y_stride), columns.outer(plan.y_stride))
            feeds = {"y": self.to_float(part, quality)[None]}
            image = self._run(name, ["pixels"], feeds)[0][0]
            image = image[:, rows.inner(stride), columns.inner(stride)]
            if average > 1:
                _, h1, w1 = image.shape
                image = image.reshape(3, h1 // average, average, w1 // average, average).mean(axis=(2, 4))
            image = image[:, of_rows, of_columns]
            if gray:
                image = image.mean(axis=0)
            np.rint(image, out=image)
            np.clip(image, 0, 255, out=image)
            pixels[into_rows, into_columns] = image if gray else image.transpose(1, 2, 0)
        return pixels

    def _window(self, name: str) -> tuple[int, int]:
        """Core and halo of the windows of a network: the default model's, unless the model says otherwise."""
        if "windows" not in self._spec:
            return CORE, HALO[name]
        try:
            core, halo = (
                int(n) for n in (self._spec["windows"]["core"], self._spec["windows"]["halo"][name])
            )
        except (KeyError, TypeError, ValueError):
            core = halo = -1
        if not (0 < core <= 4096 and 0 <= halo <= 1024 and core % TILE_UNIT == halo % TILE_UNIT == 0):
            raise ModelError(f"model {self.name} has no proper windows for {name}. Pack it again.")
        return core, halo

    @cached_property
    def _spec(self) -> dict[str, Any]:
        return read_spec(self.folder)

    def price(self, quality: int) -> float:
        """Bits that the model pays for a unit of squared error (0..255, mean of the colours) of one pixel.

        :raises ModelError: if the model was packed without saying so.
        """
        return self._prices[quality - 1]

    @cached_property
    def _prices(self) -> list[float]:
        try:
            prices = [float(price) for price in self._spec["prices"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"model {self.name} was packed without the price of an error, which this effort needs. Take "
                "effort 1, or pack the model again."
            ) from error
        if len(prices) != 100 or not all(0 < price < math.inf for price in prices):
            raise ModelError(f"the prices of model {self.name} are damaged. Install or pack it again.")
        return prices

    def adjoint(
        self,
        y: NDArray[np.int32],
        target: NDArray[np.float32],
        weight: NDArray[np.float32],
        quality: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Decoded pixels, and how half their weighted squared error changes with the latents.

        ``y`` int32 ``[c, h, w]`` as decoded, ``target`` ``[3, 16h, 16w]`` in 0..255, ``weight``
        ``[16h, 16w]``. Returns pixels ``[3, 16h, 16w]``, clipped and not rounded, and the gradient
        ``[c, h, w]`` for a change of one step. In one piece: for windows of a picture, not for large ones.

        :raises ModelError: if the model was packed without this graph.
        """
        inverse = self._gain("inverse_gain", quality)
        scaled = self.to_float(y, quality)
        feeds = {"y": scaled[None], "target": target[None], "weight": weight[None, None]}
        pixels, gradient = self._run("adjoint", ["pixels", "gradient"], feeds)
        return pixels[0], gradient[0] * inverse

    def to_float(self, y: NDArray[np.int32], quality: int) -> NDArray[np.float32]:
        """Decoded ``y`` int32 ``[c, h, w]``, of the first c channels, as what float networks take: times
        ``2^-fraction`` and the inverse of the quality's gain."""
        scale = self._gain("inverse_gain", quality) * np.float32(2.0**-self.entropy.plan.fraction)
        values: NDArray[np.float32] = np.multiply(y, scale[: len(y)], dtype=np.float32)
        return values

    def _gain(self, name: str, quality: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self.gains[name][quality - 1]
        return row[:, None, None]

    @cached_property
    def gains(self) -> dict[str, NDArray[np.float32]]:
        """``gain``, what y is multiplied by at each quality, and ``inverse_gain``: ``[100, c]`` each."""
        gains = self._tensors("gain", "inverse_gain")
        for name in ("gain", "inverse_gain"):
            if name not in gains or gains[name].shape != (100, self.entropy.plan.y_channels):
                raise ModelError(
                    f"{self.folder} has no {name} for 100 qualities. Install or pack the model again."
                )
        return {name: gains[name].astype(np.float32) * np.float32(GAIN_UNIT) for name in gains}

    def _run(
        self, name: str, outputs: list[str], feeds: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        if name not in self._halves:
            self._halves[name] = self._float_half(name)
        result: list[NDArray[np.float32]] = self._halves[name].run(outputs, feeds)
        return result

    def _float_half(self, name: str) -> Half:
        path = self.folder / f"{name}.onnx"
        if name == "analysis" and not (self.folder / "hyper_analysis.onnx").exists():
            raise ModelError(
                f"model {self.name} has no hyper_analysis.onnx, so Bifocal 0.1 packed it: it decodes here. "
                "Pack it again to encode with it."
            )
        if name == "adjoint" and not path.exists():
            raise ModelError(
                f"model {self.name} was packed without the graph of the adjoint, which this effort needs. "
                "Take effort 1, or pack the model again."
            )
        prefix = "synthesis." if name == "adjoint" else f"{name}."
        weights = {key: value.astype(np.float32) for key, value in self._tensors(prefix).items()}
        return open_half(name, path, weights, threads=self._threads, backend=self.float_backend)

    def _tensors(self, *prefixes: str) -> dict[str, NDArray[Any]]:
        """Tensors of the packed weights whose names begin so; safetensors holds numbers, nothing to run."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / "weights.safetensors"
        try:
            with safe_open(path, framework="np") as file:
                return {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefixes)}
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read ({error}). Install or pack the model again.") from error


def reduce_box(box: Box, reduction: int) -> Box:
    """A box in pixels of the reduced picture, rounded outwards.

    >>> reduce_box((3, 0, 9, 5), 2)
    (1, 0, 5, 3)
    """
    left, top, right, bottom = box
    return left // reduction, top // reduction, -(-right // reduction), -(-bottom // reduction)


def _overlap(core: slice, start: int, stop: int) -> tuple[slice, slice]:
    """Where a core meets ``start..stop``: counted from the core's start, and from ``start``."""
    first, last = max(core.start, start), min(core.stop, stop)
    return slice(first - core.start, last - core.start), slice(first - start, last - start)
