"""Memory traffic of a packed codec: its two float graphs, and the stream and pixels that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bifocal.errors import OptionError
from bifocal.hardware.cost.graph import Graph, load_graph
from bifocal.hardware.cost.measure import Traffic, measure
from bifocal.hardware.cost.result import NetworkResult, Quality, summed
from bifocal.measure.metrics import Pixels, psnr
from bifocal.measure.traffic.options import Array, Measurer, Notify, Options, light, silent
from bifocal.runtime.analysis import FloatLatents, at_quality, float_latents
from bifocal.runtime.analysis import Transformed as TransformedBox
from bifocal.runtime.encoding import TILE
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import synthesise
from bifocal.runtime.windows import cut_padded, padded_size
from bifocal.stream.latents import encode_latents
from bifocal.stream.limits import TILE_UNIT
from bifocal.types import Latents


def network_graph(model: Model, name: str) -> Graph:
    """A float network of a packed model (``analysis``, ``synthesis``, …) with its weights."""
    weights = {key: value.astype(np.float32) for key, value in model._tensors(f"{name}.").items()}
    return load_graph(model.folder / f"{name}.onnx", weights=weights, name=f"{model.name}: {name}")


def codec_traffic(
    model: Model,
    pictures: Sequence[Pixels],
    options: Options,
    notify: Notify = silent,
    *,
    calibration: Pixels | None = None,
    synthesis: Graph | None = None,
) -> list[NetworkResult]:
    """Encoder and decoder of a packed model on pictures uint8 ``[h, w, 3]`` at the quality of the options.

    The encoder's bits and PSNR are those of the stream made of its latents, decoded in float; the decoder's
    PSNR is that of the pixels it gives for the latents of the float encoder. What must be found first is
    found on ``calibration``, the first picture by default. With another ``synthesis``, for the latents of the
    model, the decoder alone is measured, and compared with the model's own in float.
    """
    first = pictures[0] if calibration is None else calibration
    decoder = _Decoder.made(model, first, options, synthesis)
    encoder = None if synthesis else _Encoder.made(model, first, options)
    for number, pixels in enumerate(pictures):
        notify(f"picture {number + 1} of {len(pictures)}: {pixels.shape[1]}×{pixels.shape[0]}")
        plain = _coded(model, float_latents(model, pixels, options.quality), pixels, options.quality)
        if encoder:
            encoder.add(plain, pixels)
        decoder.add(plain, pixels)
    return [part.result() for part in (encoder, decoder) if part]


@dataclass(frozen=True)
class _Coded:
    """A picture as a stream of the float encoder, or of another; and the PSNR of the float decoder."""

    bits: float
    latents: Latents
    psnr: float


@dataclass
class _Encoder:
    model: Model
    quality: int
    measurer: Measurer
    passes: list[Traffic] = field(default_factory=list)
    figures: list[tuple[float, float, float, float]] = field(default_factory=list)

    @classmethod
    def made(cls, model: Model, pixels: Pixels, options: Options) -> _Encoder:
        """A loss in dB is that of latents here: what rounding them to whole steps loses, a twelfth of a step
        squared, may grow by as much."""
        gain = {"y": model.gain("gain", options.quality)[None]}
        allowed = (10 ** (options.loss / 10) - 1) / 12
        graph = network_graph(model, "analysis")
        return cls(
            model, options.quality, options.measurer(graph, {"pixels": _padded(pixels)}, allowed, gain)
        )

    def add(self, plain: _Coded, pixels: Pixels) -> None:
        traffic = self.measurer({"pixels": _padded(pixels)})
        latents = _latents_of(self.model, traffic.outputs["y"], self.quality)
        changed = _coded(self.model, latents, pixels, self.quality)
        self.figures.append((plain.psnr, changed.psnr, plain.bits, changed.bits))
        self.passes.append(light(traffic))

    def result(self) -> NetworkResult:
        means = [float(np.mean(column)) for column in zip(*self.figures, strict=True)]
        quality = Quality("PSNR, dB", *means[:2]), Quality("bits a pixel", *means[2:])
        return NetworkResult(f"{self.model.name}: encoder", summed(self.passes), len(self.passes), quality)


@dataclass
class _Decoder:
    model: Model
    quality: int
    measurer: Measurer
    passes: list[Traffic] = field(default_factory=list)
    figures: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def made(cls, model: Model, pixels: Pixels, options: Options, synthesis: Graph | None) -> _Decoder:
        """A loss in dB is that of pixels, from those of the model's own float decoder."""
        graph = synthesis or network_graph(model, "synthesis")
        plain = _coded(model, float_latents(model, pixels, options.quality), pixels, options.quality)
        feeds = {"y": model.to_float(plain.latents.y, options.quality)[None]}
        allowed = _squared_error(plain.psnr) * 10 ** (options.loss / 10)
        if options.quantiser == "search":
            own = measure(graph, feeds, (), threads=options.threads).reference["pixels"]
            allowed -= _squared_error(psnr(_as_pixels(own, pixels), pixels))
            if allowed <= 0:
                raise OptionError(
                    f"the decoder loses more than {options.loss:g} dB in float already: allow more loss."
                )
        return cls(model, options.quality, options.measurer(graph, feeds, allowed))

    def add(self, plain: _Coded, pixels: Pixels) -> None:
        traffic = self.measurer({"y": self.model.to_float(plain.latents.y, self.quality)[None]})
        self.figures.append((plain.psnr, psnr(_as_pixels(traffic.outputs["pixels"], pixels), pixels)))
        self.passes.append(light(traffic))

    def result(self) -> NetworkResult:
        means = [float(np.mean(column)) for column in zip(*self.figures, strict=True)]
        quality = (Quality("PSNR, dB", *means),)
        return NetworkResult(f"{self.model.name}: decoder", summed(self.passes), len(self.passes), quality)


def _coded(model: Model, latents: FloatLatents, pixels: Pixels, quality: int) -> _Coded:
    stream, decoded = _stream(model, latents, pixels, quality)
    return _Coded(_bpp(stream, pixels), decoded, psnr(synthesise(model, decoded), pixels))


def _squared_error(decibels: float) -> float:
    """Mean squared error (0..255) of a PSNR."""
    return float(255.0**2 * 10 ** (-decibels / 10))


def _padded(pixels: Pixels) -> Array:
    h, w = (padded_size(side, TILE_UNIT) for side in pixels.shape[:2])
    padded = cut_padded(pixels, slice(0, h), slice(0, w))
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)


def _latents_of(model: Model, y: Array, quality: int) -> FloatLatents:
    """Latents with gains of what analysis gave for a padded picture ``[1, c, h, w]``."""
    stride = model.entropy.plan.y_stride
    box = (0, 0, y.shape[3] * stride, y.shape[2] * stride)
    return at_quality(model, TransformedBox(y[0].astype(np.float32), box), quality)


def _stream(model: Model, latents: FloatLatents, pixels: Pixels, quality: int) -> tuple[bytes, Latents]:
    return encode_latents(
        latents.y,
        latents.z,
        width=pixels.shape[1],
        height=pixels.shape[0],
        gray=False,
        quality=quality,
        tile=TILE,
        model=model.entropy,
        engine=model.engine,
    )


def _bpp(stream: bytes, pixels: Pixels) -> float:
    return 8.0 * len(stream) / float(pixels.shape[0] * pixels.shape[1])


def _as_pixels(output: Array, like: Pixels) -> Pixels:
    """Decoded pixels uint8 of the size of a picture, of ``[1, 3, h, w]``."""
    cut = output[0, :, : like.shape[0], : like.shape[1]].transpose(1, 2, 0)
    return np.clip(np.rint(cut), 0, 255).astype(np.uint8)
