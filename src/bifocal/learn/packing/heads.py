"""Packing a head: a torch network over latents becomes one ``.bfh`` file that the runtime reads.

The file is safetensors: graphs of ONNX without weights as bytes, weights in float16 under the names that the
graphs ask for, and a description as JSON in the metadata. ``runtime/heads/file.py`` reads it, and says what
each field means; no torch is needed there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn
from torch.export import Dim

from bifocal.errors import ModelError
from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.nets.heads.heatvit import HeatViT
from bifocal.learn.nets.heads.vit import VisionTransformer
from bifocal.learn.packing.graphs import Arrays, module_graph
from bifocal.learn.systems.registry import system_of
from bifocal.runtime.heads.file import FORMAT, MAX_BATCH, MAX_FILE, MAX_WINDOW
from bifocal.runtime.heads.run import EMBEDDING, EVIDENCE
from bifocal.runtime.model import Model


@dataclass(frozen=True, eq=False)
class PackedHead:
    """A head ready to be written: its graphs, the weights that these ask for, and its description."""

    graphs: tuple[bytes, ...]
    weights: Arrays
    spec: Mapping[str, Any]

    def data(self, card: Mapping[str, Any] | None = None) -> bytes:
        """The bytes of the ``.bfh`` file; ``card`` says what people should know: data, licence, accuracy.

        :raises ModelError: if it would be larger than a head may be.
        """
        tensors: dict[str, NDArray[Any]] = {
            f"graph.{number}": np.frombuffer(graph, np.uint8) for number, graph in enumerate(self.graphs)
        }
        tensors |= {name: np.ascontiguousarray(value) for name, value in self.weights.items()}
        text = json.dumps({**self.spec, "card": dict(card or {})}, ensure_ascii=False)
        made: bytes = save(tensors, {"bifocal": text})
        if len(made) > MAX_FILE:
            raise ModelError(
                f"the head would have {len(made)} bytes, and may have {MAX_FILE}. Make the network smaller."
            )
        return made


def pack_head(network: nn.Module, **options: Any) -> PackedHead:
    """Pack a classifier of latents in evaluation mode; one with ``segments`` has token selectors.

    Options and errors are those of :func:`pack_dense_head`.
    """
    if hasattr(network, "segments"):
        return pack_pruned_head(cast(HeatViT, network), **options)
    return pack_dense_head(network, **options)


def pack_dense_head(
    network: nn.Module,
    *,
    name: str,
    base: Model,
    channels: int,
    classes: tuple[str, ...],
    window: int,
    grid: int = 0,
    magnitudes: bool = False,
) -> PackedHead:
    """Pack a network of one piece, from y ``[n, channels, h, w]`` to logits ``[n, classes]``.

    ``window`` is the side, in positions of y, of the largest window that it sees at once; smaller ones, from
    one position on, come as they are. A network that has ``evidence``, what each position says of
    every class (``learn/nets/heads/latent_stem.py``), gives it too, as it does its embedding; without classes
    that is all it gives. One that was trained on pooled views (``learn/data/pooling.py``) has their ``grid``,
    and takes ``2·channels`` if they had ``magnitudes``.

    :raises ModelError: if it cannot become a graph, or a weight does not fit float16.
    """
    sides = {0: Dim("n", min=1, max=MAX_BATCH)}
    sides |= {2: Dim("h", min=1, max=window), 3: Dim("w", min=1, max=window)}
    example = torch.zeros(2, channels * (2 if magnitudes else 1), min(7, window), min(9, window))
    outputs: tuple[str, ...] = ("logits",)
    numbers = getattr(getattr(network, "config", None), "embedding", 0)
    if hasattr(network, "evidence"):
        outputs = (("logits", EVIDENCE) if classes else ()) + ((EMBEDDING,) if numbers else ())
        network = _Answers(network, outputs)
    graph, weights = module_graph(network, "head", {"y": example}, {"y": sides}, outputs)
    spec = _spec(name, base, channels, classes, window) | {"grid": grid, "magnitudes": magnitudes}
    return PackedHead((graph,), {key: half_precision(key, value) for key, value in weights.items()}, spec)


def label_head(checkpoint: Checkpoint, base: Model, name: str) -> bytes:
    """The label reader of a codec that has one, as a ``.bfh`` head for streams of ``base``, its packed model.

    Positions are interpolated for pictures of up to four times the trained side; beyond, logits of several
    windows are averaged.

    :raises ModelError: if the codec has no label reader, or the head cannot be packed.
    """
    model = checkpoint.model().eval()
    if "labels" not in model.packing_extras():
        system = system_of(checkpoint.config).name
        raise ModelError(f"{system} is no joint codec: it has no label reader. Train a head for it instead.")
    trunk = cast(VisionTransformer, model.trunk)
    run = checkpoint.history[-1] if checkpoint.history else {}
    packed = pack_dense_head(
        trunk,
        name=name,
        base=base,
        channels=model.plan.y_channels,
        classes=tuple(run.get("classes") or (f"class {i}" for i in range(trunk.config.classes))),
        window=min(4 * trunk.config.grid, MAX_WINDOW),
    )
    rows = {str(row["quality"]): row["accuracy"] for row in run.get("validation", [])}
    return packed.data(
        {"trained": "with its codec (arXiv 2112.09300)", "accuracy of held-out pictures": rows}
    )


class _Answers(nn.Module):
    """A network with several answers, as they are named."""

    def __init__(self, network: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, y: Tensor) -> tuple[Tensor, ...]:
        found: dict[str, Tensor] = self.network.all_answers(y)
        return tuple(found[name] for name in self.names)


def pack_pruned_head(
    model: HeatViT, *, name: str, base: Model, channels: int, classes: tuple[str, ...], window: int
) -> PackedHead:
    """Pack a transformer with token selectors: one graph up to each selector, and one to the logits.

    The model is in evaluation mode; arguments and errors as in :func:`pack_dense_head`.
    """
    parts, bits = model.segments(), model.config.bits
    h, w = min(7, window), min(9, window)
    sides = {2: Dim("h", min=1, max=window), 3: Dim("w", min=1, max=window)}
    inputs = {"y": torch.zeros(1, channels, h, w)}
    if bits:
        inputs["bits"] = torch.ones(1, 1, h, w)
    dims: dict[str, dict[int, Any]] = dict.fromkeys(inputs, sides)
    graphs: list[bytes] = []
    arrays: Arrays = {}
    for number, part in enumerate(parts):
        last = part is parts[-1]
        outputs = ("logits",) if last else ("tokens_out", "keep")
        graph, weights = module_graph(part, f"head.{number}", inputs, dims, outputs)
        graphs.append(graph)
        arrays |= weights
        if not last:
            with torch.no_grad():
                tokens, _ = part(*inputs.values())
            inputs, dims = {"tokens": tokens}, {"tokens": {1: Dim("m", min=2, max=window**2 + 2)}}
    spec = _spec(name, base, channels, classes, window)
    spec |= {"bits": bits, "stages": [{"package": model.config.package}] * (len(parts) - 1)}
    return PackedHead(tuple(graphs), {key: half_precision(key, value) for key, value in arrays.items()}, spec)


def _spec(name: str, base: Model, channels: int, classes: tuple[str, ...], window: int) -> dict[str, Any]:
    stride = base.entropy.plan.y_stride
    return {
        "format": FORMAT,
        "kind": "classify" if classes else "embed",
        "name": name,
        "codec": base.name,
        "fingerprint": base.entropy.fingerprint.hex(),
        "classes": list(classes),
        "channels": channels,
        "window": window,
        "stages": [],
        "token": stride,
        "stride": stride,
    }


def half_precision(name: str, value: NDArray[Any]) -> NDArray[Any]:
    """A weight in float16; numbers below its smallest become zero, none may become infinite.

    :raises ModelError: if one would.
    """
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    if not np.isfinite(half).all():
        raise ModelError(
            f"weight {name} of the head reaches {np.abs(value).max():.3g}, and float16 ends at 65504. The "
            "training has run away: start it again with a smaller learning rate."
        )
    return half
