"""Memory traffic of any ONNX network on pictures or arrays, and how its outputs change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bifocal.errors import OptionError
from bifocal.hardware.cost.graph import Graph
from bifocal.hardware.cost.measure import Traffic, measure
from bifocal.hardware.cost.result import NetworkResult, Quality, summed
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.traffic.options import Array, Measurer, Notify, Options, light, silent
from bifocal.runtime.windows import cut_padded, padded_size
from bifocal.stream.limits import TILE_UNIT

#: What a float input of a network is made of pixels 0..255: their factor, and mean and deviation of each
#: colour after it.
SCALES: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    "unit": (1 / 255, (0.0,) * 3, (1.0,) * 3),
    "byte": (1.0, (0.0,) * 3, (1.0,) * 3),
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def network_traffic(
    graph: Graph,
    feeds: Iterable[Mapping[str, Array]],
    options: Options,
    notify: Notify = silent,
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
        passes.append(light(traffic))
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
