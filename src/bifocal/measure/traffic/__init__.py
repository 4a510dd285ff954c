"""Memory traffic of a packed codec and of any ONNX network, on pictures.

:mod:`bifocal.hardware.cost` knows no codec: here a packed model becomes its two float graphs with what they
are fed, and the arrays that come out become streams, PSNR and bits. Of any other network the error of its
outputs is measured, and of a classifier how often its first label stays.
"""

from __future__ import annotations

from pathlib import Path

from bifocal.hardware.cost.graph import load_graph
from bifocal.hardware.cost.result import NetworkResult
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.traffic.codec import codec_traffic, network_graph
from bifocal.measure.traffic.network import feeds_from, network_traffic
from bifocal.measure.traffic.options import Notify, Options, silent
from bifocal.runtime.encoding import check_quality
from bifocal.runtime.model import Model

__all__ = ["Options", "codec_traffic", "model_pictures", "network_graph", "network_traffic", "run_traffic"]


def run_traffic(network: str, data: Path, options: Options, notify: Notify = silent) -> list[NetworkResult]:
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


def model_pictures(data: Path, limit: int) -> list[Pixels]:
    """The pixels of a picture, or of the first pictures of a folder."""
    return [load_rgb(path) for path in find_pictures([data])[:limit]]
