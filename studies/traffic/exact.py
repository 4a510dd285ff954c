"""The exact networks of a model as graphs, with what they are fed when a picture is encoded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bifocal.hardware.cost.graph import Array, Graph, load_graph
from bifocal.measure.metrics import Pixels
from bifocal.measure.traffic.codec import _coded
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.engines.onnxruntime import graph_file, graph_weights
from bifocal.runtime.model import Model
from bifocal.stream.exact import ExactNet


class Recorder:
    """An engine that keeps what each network is first given."""

    def __init__(self, model: Model) -> None:
        self._engine, self.seen = model.engine, dict[str, tuple[ExactNet, Array, int]]()
        self.name, self.layers_run = self._engine.name, self._engine.layers_run

    def __call__(self, net: ExactNet, x: Array, quality: int) -> Array:
        self.seen.setdefault(net.name, (net, x, quality))
        return self._engine(net, x, quality)


def exact_graphs(model: Model, pixels: Pixels, quality: int) -> Iterator[tuple[Graph, dict[str, Array]]]:
    """Each exact network and its feeds for a picture; all of its numbers are integers."""
    recorder = Recorder(model)
    model.engine = recorder
    _coded(model, float_latents(model, pixels, quality), pixels, quality)
    for name, (net, x, at) in recorder.seen.items():
        graph = load_graph(model.folder / graph_file(name), weights=graph_weights(net), name=f"exact {name}")
        feeds = {
            f"bias.{number}": layer.bias_row(at).astype(np.float32).reshape(1, -1, 1, 1)
            for number, layer in enumerate(net.layers)
        }
        yield graph, {"x": x[None].astype(np.float32), **feeds}
