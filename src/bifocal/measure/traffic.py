"""Memory traffic of a packed codec and of any ONNX network, on pictures.

:mod:`bifocal.hardware.cost` knows no codec: here a packed model becomes its two float graphs with what they
are fed, and the arrays that come out become streams, PSNR and bits. Of any other network the error of its
outputs is measured, and of a classifier how often its first label stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bifocal.errors import OptionError
from bifocal.hardware.cost.coders import Coder
from bifocal.hardware.cost.graph import Graph, load_graph
from bifocal.hardware.cost.measure import Traffic, measure
from bifocal.hardware.cost.quantise import MinMax, PowerOfTwo, Quantiser
from bifocal.hardware.cost.result import NetworkResult, Quality, summed
from bifocal.hardware.cost.search import find_steps
from bifocal.hardware.cost.transform import decorrelating
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels, psnr
from bifocal.runtime.encoding import TILE, FloatLatents, at_quality, check_quality, float_latents
from bifocal.runtime.encoding import Transformed as TransformedBox
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import synthesise
from bifocal.runtime.windows import cut_padded, padded_size
from bifocal.stream.latents import encode_latents
from bifocal.stream.limits import TILE_UNIT
from bifocal.types import Latents

Array = NDArray[Any]
#: What a float input of a network is made of pixels 0..255: their factor, and mean and deviation of each
#: colour after it.
SCALES: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    "unit": (1 / 255, (0.0,) * 3, (1.0,) * 3),
    "byte": (1.0, (0.0,) * 3, (1.0,) * 3),
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
Notify = Callable[[str], None]
Measurer = Callable[[Mapping[str, Array]], Traffic]


@dataclass(frozen=True)
class Options:
    """How everything is measured: the options of ``bifocal traffic``.

    :param quantiser: ``minmax``, ``power``, ``channel`` or ``search``.
    :param bits: of an activation, but for ``search``.
    :param loss: dB by which ``search`` lets the mean squared error grow: of a codec's pixels, or of the
        outputs of another network against a hundredth of their power.
    :param transforms: whether to decorrelate channels before coding.
    :param limit: the most pictures.
    """

    coders: Sequence[Coder] = ()
    quantiser: str = "minmax"
    bits: int = 8
    loss: float = 0.1
    quality: int = 60
    scale: str = "unit"
    transforms: bool = False
    limit: int = 24
    threads: int = 0

    def facts(self) -> dict[str, str]:
        """What a report says of them."""
        search = self.quantiser == "search"
        found = f"steps found for a loss of {self.loss:g} dB on the first picture" if search else ""
        return {
            "coders": ", ".join(coder.name for coder in self.coders),
            "quantiser": found or f"{self.quantiser}, {self.bits} bits",
            "transforms": "decorrelating, from the first picture" if self.transforms else "none",
        }

    def measurer(
        self,
        graph: Graph,
        feeds: Mapping[str, Array],
        allowed: float,
        weights: Mapping[str, Array] | None = None,
    ) -> Measurer:
        """How passes of a graph are measured; what must be found first is found on ``feeds``, with a mean
        squared error of the outputs, times ``weights``, of ``allowed``.

        :raises OptionError: if there is no such quantiser.
        """
        fixed: dict[str, Quantiser] = {
            "minmax": MinMax(self.bits),
            "power": PowerOfTwo(self.bits),
            "channel": PowerOfTwo(self.bits, channels=True),
        }
        if self.quantiser not in (*fixed, "search"):
            raise OptionError(
                f"there is no quantiser '{self.quantiser}'. There are {', '.join((*fixed, 'search'))}."
            )
        if self.quantiser == "search":
            quantiser: Quantiser = find_steps(graph, [feeds], allowed, weights=weights, threads=self.threads)
        else:
            quantiser = fixed[self.quantiser]
        turned = decorrelating(graph, [feeds], threads=self.threads) if self.transforms else None
        return partial(
            measure,
            graph,
            coders=self.coders or None,
            quantiser=quantiser,
            transforms=turned,
            threads=self.threads,
        )


def run_traffic(
    network: str, data: Path, options: Options, notify: Notify = lambda _: None
) -> list[NetworkResult]:
    """What ``bifocal traffic`` measures: of a packed model its encoder and decoder, else of an ONNX file.

    :raises GraphError: if the file's traffic cannot be measured.
    :raises ModelError: if there is no such model.
    :raises OptionError: if an option or the data do not fit.
    """
    if Path(network).suffix.lower() == ".onnx":
        graph = load_graph(network)
        return [
            network_traffic(graph, feeds_from(graph, data, options.scale, options.limit), options, notify)
        ]
    model = Model.load(network)
    check_quality(options.quality)
    return codec_traffic(model, model_pictures(data, options.limit), options, notify)


def network_graph(model: Model, name: str) -> Graph:
    """A float network of a packed model (``analysis``, ``synthesis``, …) with its weights."""
    weights = {key: value.astype(np.float32) for key, value in model._tensors(f"{name}.").items()}
    return load_graph(model.folder / f"{name}.onnx", weights=weights, name=f"{model.name}: {name}")


def codec_traffic(
    model: Model, pictures: Sequence[Pixels], options: Options, notify: Notify = lambda _: None
) -> list[NetworkResult]:
    """Encoder and decoder of a packed model on pictures uint8 ``[h, w, 3]`` at the quality of the options.

    The encoder's bits and PSNR are those of the stream made of its latents, decoded in float; the decoder's
    PSNR is that of the pixels it gives for the latents of the float encoder.
    """
    quality = options.quality
    encode, decode = _codec_measurers(model, pictures[0], options)
    passes: dict[str, list[Traffic]] = {"analysis": [], "synthesis": []}
    rates: dict[str, list[float]] = {"plain": [], "coded": []}
    decibels: dict[str, list[float]] = {"plain": [], "analysis": [], "synthesis": []}
    for number, pixels in enumerate(pictures):
        notify(f"picture {number + 1} of {len(pictures)}: {pixels.shape[1]}×{pixels.shape[0]}")
        plain, latents = _stream(model, float_latents(model, pixels, quality), pixels, quality)
        decibels["plain"].append(psnr(synthesise(model, latents), pixels))
        rates["plain"].append(_bpp(plain, pixels))
        encoder = encode({"pixels": _padded(pixels)})
        made = _latents_of(model, encoder.outputs["y"], quality)
        stream, again = _stream(model, made, pixels, quality)
        rates["coded"].append(_bpp(stream, pixels))
        decibels["analysis"].append(psnr(synthesise(model, again), pixels))
        decoder = decode({"y": model.to_float(latents.y, quality)[None]})
        decibels["synthesis"].append(psnr(_as_pixels(decoder.outputs["pixels"], pixels), pixels))
        passes["analysis"].append(_light(encoder))
        passes["synthesis"].append(_light(decoder))
    mean = {key: float(np.mean(values)) for key, values in decibels.items()}
    bits = {key: float(np.mean(values)) for key, values in rates.items()}
    return [
        NetworkResult(
            f"{model.name}: encoder",
            summed(passes["analysis"]),
            len(pictures),
            (
                Quality("PSNR, dB", mean["plain"], mean["analysis"]),
                Quality("bits a pixel", bits["plain"], bits["coded"]),
            ),
        ),
        NetworkResult(
            f"{model.name}: decoder",
            summed(passes["synthesis"]),
            len(pictures),
            (Quality("PSNR, dB", mean["plain"], mean["synthesis"]),),
        ),
    ]


def _codec_measurers(model: Model, pixels: Pixels, options: Options) -> tuple[Measurer, Measurer]:
    """How passes of encoder and decoder are measured. What must be found first is found on one picture.

    A loss in dB is one of its pixels. For the encoder it is that of latents: what rounding to whole steps
    loses, a twelfth of a step squared, may grow by as much.
    """
    quality, growth = options.quality, 10 ** (options.loss / 10) - 1
    analysis, synthesis = network_graph(model, "analysis"), network_graph(model, "synthesis")
    _, latents = _stream(model, float_latents(model, pixels, quality), pixels, quality)
    error = 255.0**2 * 10 ** (-psnr(synthesise(model, latents), pixels) / 10)
    gain = {"y": model.gain("gain", quality)[None]}
    encode = options.measurer(analysis, {"pixels": _padded(pixels)}, growth / 12, gain)
    decode = options.measurer(
        synthesis, {"y": model.to_float(latents.y, quality)[None]}, max(growth * error, 1e-6)
    )
    return encode, decode


def network_traffic(
    graph: Graph,
    feeds: Iterable[Mapping[str, Array]],
    options: Options,
    notify: Notify = lambda _: None,
) -> NetworkResult:
    """Any network, on feeds for one pass each.

    :raises OptionError: if there are no feeds.
    """
    passes: list[Traffic] = []
    errors: list[float] = []
    agreed: list[bool] = []
    settings: Measurer | None = None
    for number, feed in enumerate(feeds):
        notify(f"pass {number + 1}")
        if settings is None:
            allowed = 10 ** (options.loss / 10) - 1 if options.quantiser == "search" else 0.0
            settings = options.measurer(graph, feed, allowed * _power(graph, feed, options) / 100)
        traffic = settings(feed)
        errors.append(_relative_error(traffic))
        if (label := _labels(traffic)) is not None:
            agreed.append(label)
        passes.append(_light(traffic))
    if not passes:
        raise OptionError("there is nothing to feed the network with. Name pictures or an .npz file.")
    found = [Quality("error of the outputs, relative", 0.0, float(np.mean(errors)))]
    if agreed:
        found.append(Quality("first label as in float", 1.0, float(np.mean(agreed))))
    return NetworkResult(graph.name, summed(passes), len(passes), tuple(found))


def picture_feeds(graph: Graph, pictures: Sequence[Path], scale: str) -> Iterator[dict[str, Array]]:
    """Pictures as the one input of a network: cut from the middle and resized where it wants a certain size,
    else padded to multiples of 64 pixels.

    :raises GraphError: if the network has no such input.
    :raises OptionError: if there is no such scale.
    """
    if scale not in SCALES:
        raise OptionError(f"there is no scale '{scale}'. There are {', '.join(SCALES)}.")
    name, shape = graph.picture_input()
    factor, mean, deviation = SCALES[scale]
    for path in pictures:
        pixels = _resized(load_rgb(path), shape[2], shape[3])
        values = pixels.astype(np.float32) * np.float32(factor)
        values = ((values - mean) / deviation).astype(np.float32)
        if shape[1] == 1:
            values = values.mean(2, keepdims=True)
        yield {name: np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)}


def array_feeds(graph: Graph, path: Path) -> Iterator[dict[str, Array]]:
    """Feeds from an .npz file with an array for each input; a longer first dimension is several passes.

    :raises OptionError: if it cannot be read, or its arrays do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError) as error:
        raise OptionError(
            f"{path} is no .npz file of plain arrays: {error}. Make it with numpy.savez."
        ) from error
    if set(arrays) != set(graph.inputs):
        raise OptionError(
            f"{path} has the arrays {', '.join(arrays) or 'none'}; {graph.name} takes "
            f"{', '.join(graph.inputs)}."
        )
    lengths = {len(array) if array.ndim else 1 for array in arrays.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise OptionError(
            f"the arrays of {path} have first dimensions {sorted(lengths)}; they must be equal."
        )
    for i in range(lengths.pop()):
        yield {name: array[i : i + 1] if array.ndim else array for name, array in arrays.items()}


def feeds_from(graph: Graph, data: Path, scale: str, limit: int) -> Iterator[dict[str, Array]]:
    """Feeds from an .npz file, or from a picture or a folder of them, at most ``limit``."""
    if data.suffix.lower() == ".npz":
        every = array_feeds(graph, data)
    else:
        graph.picture_input()
        every = picture_feeds(graph, find_pictures([data])[:limit], scale)
    for number, feed in enumerate(every):
        if number == limit:
            break
        yield feed


def model_pictures(data: Path, limit: int) -> list[Pixels]:
    """The pixels of a picture, or of the first pictures of a folder."""
    return [load_rgb(path) for path in find_pictures([data])[:limit]]


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


def _resized(pixels: Pixels, height: int | None, width: int | None) -> Pixels:
    """Pixels of the size that a network wants."""
    h, w = pixels.shape[:2]
    if height is None and width is None:
        return cut_padded(pixels, slice(0, padded_size(h, TILE_UNIT)), slice(0, padded_size(w, TILE_UNIT)))
    height, width = height or width or 1, width or height or 1
    share = max(height / h, width / w)
    size = max(width, math.ceil(w * share)), max(height, math.ceil(h * share))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))


def _power(graph: Graph, feed: Mapping[str, Array], options: Options) -> float:
    """The mean square of the float outputs."""
    reference = measure(graph, feed, (), threads=options.threads).reference
    arrays = [array for array in reference.values() if array.dtype.kind == "f"]
    total = sum(float((array.astype(np.float64) ** 2).sum()) for array in arrays)
    return float(max(total / max(1, sum(array.size for array in arrays)), 1e-12))


def _relative_error(traffic: Traffic) -> float:
    """Root mean square of what changed in the float outputs, over that of the outputs."""
    changed = total = 0.0
    for name, before in traffic.reference.items():
        if before.dtype.kind == "f":
            changed += float(((traffic.outputs[name] - before).astype(np.float64) ** 2).sum())
            total += float((before.astype(np.float64) ** 2).sum())
    return math.sqrt(changed / total) if total else 0.0


def _labels(traffic: Traffic) -> bool | None:
    """Whether the first label stays; None where the network has no output ``[1, classes]``."""
    for name, before in traffic.reference.items():
        if before.ndim == 2 and before.shape[1] > 1 and before.dtype.kind == "f":
            return bool(before.argmax() == traffic.outputs[name].argmax())
    return None


def _light(traffic: Traffic) -> Traffic:
    """A pass without its arrays."""
    return summed([traffic])
