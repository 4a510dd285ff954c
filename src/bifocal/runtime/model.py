"""A packed model in use: its entropy model, gains, and the float halves on ONNX Runtime.

Left of the waist, :meth:`Model.analyse` turns pixels into gained float latents; right of it,
:meth:`Model.synthesise` turns decoded integer latents into pixels. Both run window by window, so memory stays
bounded for pictures of any size. Between them, :mod:`bifocal.stream.latents` works with
:attr:`Model.entropy`.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import LatentsError, ModelError, OptionError
from bifocal.pictures.windows import pad, padded_size, windows
from bifocal.runtime.exact_ort import OrtBackend
from bifocal.runtime.registry import model_folder
from bifocal.runtime.session import open_session
from bifocal.stream.latents import EntropyModel
from bifocal.types import Latents

if TYPE_CHECKING:
    import onnxruntime

    from bifocal.stream.exact import Backend

#: Pixels that a window computes beyond its core: as far as the receptive fields of the shipped systems reach.
HALO = 128
#: Side of a window's core in pixels. 1024 keeps peak memory near 400 MiB; smaller windows recompute more
#: halo.
CORE = 1024
#: Gains are stored as integers in this unit.
GAIN_UNIT = 2.0**-16


class FloatLatents(NamedTuple):
    """Analysis of a picture: ``y`` in steps ``[c, H/16, W/16]`` and ``z`` ``[c, H/64, W/64]``, float32."""

    y: NDArray[np.float32]
    z: NDArray[np.float32]


class Model:
    """A packed model, opened from its folder with :meth:`load`. Sessions are made on first use.

    ``name`` and ``folder`` say which it is; ``entropy`` is all that packing and unpacking need, ``backend``
    runs its exact networks. Safe to share between threads.
    """

    def __init__(self, folder: Path, entropy: EntropyModel, *, threads: int | None = None) -> None:
        self.folder, self.entropy, self._threads = folder, entropy, threads
        self.name = entropy.name

    @classmethod
    def load(cls, name: str | os.PathLike[str], *, threads: int | None = None) -> Model:
        """Load an installed model by name, or any packed model by its folder.

        :param threads: processors that one network may use; all by default.
        :raises ModelError: if there is none, or it is damaged.
        """
        folder = model_folder(name)
        return cls(folder, EntropyModel.load(folder), threads=threads)

    @cached_property
    def backend(self) -> Backend:
        """Runs the exact networks. ONNX Runtime: half the time of NumPy where we measured."""
        return OrtBackend(self.folder, threads=self._threads)

    def analyse(self, pixels: NDArray[np.uint8], quality: int) -> FloatLatents:
        """Latents of ``pixels`` ``[h, w, 3]`` or ``[h, w]``, padded right and below, with the quality's gain.

        :raises OptionError: if ``quality`` is not 1 to 100.
        """
        if not 1 <= quality <= 100:
            raise OptionError(f"quality is {quality}; choose 1 (smallest file) to 100 (best picture).")
        plan, gain = self.entropy.plan, self._gain("gain", quality)[None]
        pixels = pad(pixels, plan.z_stride)
        h, w = pixels.shape[:2]
        y = np.empty((plan.y_channels, h // plan.y_stride, w // plan.y_stride), np.float32)
        z = np.empty((plan.z_channels, h // plan.z_stride, w // plan.z_stride), np.float32)
        for rows, columns in windows(h, w, core=CORE, halo=HALO, multiple=plan.z_stride):
            window = pixels[rows.outer(1), columns.outer(1)]
            if window.ndim == 2:  # gray is coded as a picture without colour
                window = np.broadcast_to(window[:, :, None], (*window.shape, 3))
            feeds = {
                "pixels": np.ascontiguousarray(window.transpose(2, 0, 1)[None], np.float32),
                "gain": gain,
            }
            outputs = self._analysis.run(["y", "z"], feeds)
            for whole, part, stride in zip((y, z), outputs, (plan.y_stride, plan.z_stride), strict=True):
                whole[:, rows.core(stride), columns.core(stride)] = part[
                    0, :, rows.inner(stride), columns.inner(stride)
                ]
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
        plan = self.entropy.plan
        scale = self._gain("inverse_gain", latents.quality) * np.float32(2.0**-plan.fraction)
        h, w = padded_size(latents.height, plan.z_stride), padded_size(latents.width, plan.z_stride)
        pixels = np.empty((h, w) if latents.gray else (h, w, 3), np.uint8)
        for rows, columns in windows(h, w, core=CORE, halo=HALO, multiple=plan.z_stride):
            part = latents.y[:, rows.outer(plan.y_stride), columns.outer(plan.y_stride)]
            image = self._synthesis.run(["pixels"], {"y": np.multiply(part, scale, dtype=np.float32)[None]})[
                0
            ][0]
            image = image[:, rows.inner(1), columns.inner(1)]
            if latents.gray:
                image = image.mean(axis=0)
            np.rint(image, out=image)
            np.clip(image, 0, 255, out=image)
            pixels[rows.core(1), columns.core(1)] = image if latents.gray else image.transpose(1, 2, 0)
        return np.ascontiguousarray(pixels[: latents.height, : latents.width])

    def _gain(self, name: str, quality: int) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._gains[name][quality - 1].astype(np.float32)
        return row[:, None, None] * np.float32(GAIN_UNIT)

    @cached_property
    def _gains(self) -> dict[str, NDArray[Any]]:
        gains = self._tensors("gain", "inverse_gain")
        for name in ("gain", "inverse_gain"):
            if name not in gains or gains[name].shape != (100, self.entropy.plan.y_channels):
                raise ModelError(
                    f"{self.folder} has no {name} for 100 qualities. Install or pack the model again."
                )
        return gains

    @cached_property
    def _analysis(self) -> onnxruntime.InferenceSession:
        return self._float_half("analysis")

    @cached_property
    def _synthesis(self) -> onnxruntime.InferenceSession:
        return self._float_half("synthesis")

    def _float_half(self, name: str) -> onnxruntime.InferenceSession:
        weights = {key: value.astype(np.float32) for key, value in self._tensors(f"{name}.").items()}
        return open_session(self.folder / f"{name}.onnx", weights, threads=self._threads)

    def _tensors(self, *prefixes: str) -> dict[str, NDArray[Any]]:
        """Tensors of the packed weights whose names begin so; safetensors holds numbers, nothing to run."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / "weights.safetensors"
        try:
            with safe_open(path, framework="np") as file:
                return {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefixes)}
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read ({error}). Install or pack the model again.") from error
