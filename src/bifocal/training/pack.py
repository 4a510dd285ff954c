"""Packing: from a checkpoint to the folder that a runtime without torch encodes and decodes with.

Packing makes every integer the entropy decoder will ever use (weights, biases for all 100 qualities,
tables, gains), proves the bound of every output row of every exact layer, and writes nothing if a row
fails. It then runs the packed networks beside the torch model and compares their integers.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from bifocal.errors import ModelError
from bifocal.nets.exact import ExactConv, integer_layer
from bifocal.nets.prior import TABLES, table_scales
from bifocal.stream.exact import ExactLayer, ExactNet, check_bound, net_arrays, net_spec, run_int64
from bifocal.stream.tables import gaussian_tables
from bifocal.systems.lowfirst import ACTIVATION, HYPER, QUALITIES, LowFirst, quality_anchors
from bifocal.training.checkpoint import Checkpoint
from bifocal.training.export import analysis_graph, exact_graph, synthesis_graph

GAIN_BITS = 16
SIZE_LIMIT = 12 * 2**20


def exact_net(name: str, layers: list[ExactConv], input_max: NDArray[np.int32], anchors: torch.Tensor) -> ExactNet:
    """The integers of trained layers, with the bound proved. ``anchors`` are those of all 100 qualities."""
    made = []
    for layer in layers:
        weight, bias, shift = (t.numpy() for t in integer_layer(layer, anchors))
        if np.abs(weight).max() > 127 or shift.min() < 0 or shift.max() > 24:
            raise ModelError(
                f"{name}: a weight row needs {np.abs(weight).max()} of 127 or a shift of {shift.min()} to "
                f"{shift.max()} of 0 to 24; the network left its range. Train it with exact = true, then pack."
            )
        made.append(
            ExactLayer(
                weight.astype(np.int8),
                bias.astype(np.int32),
                shift.astype(np.int32),
                relu=layer.relu,
                lo=layer.out.lo,
                hi=layer.out.hi,
                shuffle=layer.shuffle,
            )
        )
    net = ExactNet(name, input_max, tuple(made))
    check_bound(net)
    return net


def exact_nets(model: LowFirst) -> dict[str, ExactNet]:
    """All networks the entropy decoder needs: ``hyper`` and ``predict.K``."""
    config, plan = model.config, model.plan
    anchors = quality_anchors(torch.arange(1, QUALITIES + 1), config.anchors)
    largest = np.full(config.hyper, HYPER.largest, np.int32)
    nets = {"hyper": exact_net("hyper", list(model.hyper_synthesis), largest, anchors)}  # type: ignore[arg-type]
    context = np.full(plan.y_channels, plan.context_max, np.int32)
    inputs = np.concatenate([np.full(config.features, ACTIVATION.hi, np.int32), context])
    for k, layers in enumerate(model.predictors):
        name = f"predict.{k}"
        nets[name] = exact_net(name, list(layers), inputs, anchors)  # type: ignore[arg-type]
    return nets


def _prove(model: LowFirst, nets: dict[str, ExactNet]) -> None:
    """Run packed integers (int64) beside the torch model's exact mode on random inputs: equal or an error."""
    rng = np.random.default_rng(0)
    for quality in (1, 37, 100):
        anchors = quality_anchors(torch.tensor([quality]), model.config.anchors)
        for name, net in nets.items():
            x = rng.integers(-40, 41, (net.inputs, 6, 5)).astype(np.int32)
            if name != "hyper":
                x[: model.config.features] = np.abs(x[: model.config.features])
            layers = model.hyper_synthesis if name == "hyper" else model.predictors[int(name.split(".")[1])]
            real = torch.from_numpy(x)[None].float() * 2.0 ** -layers[0].source.fraction  # type: ignore[union-attr,index,operator]
            with torch.no_grad():
                for layer in layers:  # type: ignore[union-attr]
                    real = layer(real, anchors, True)
                fraction = layers[-1].row_fraction  # type: ignore[union-attr,index]
            unit = 2.0 ** (fraction if not layers[-1].shuffle else fraction[::4])  # type: ignore[union-attr,index,operator]
            got = (real[0] * unit[:, None, None]).numpy().astype(np.int64)
            if not np.array_equal(got, run_int64(net, x, quality)):
                raise ModelError(f"{name}: packed integers and the trained network differ. This is a bug; report it.")


def pack(
    checkpoint: Checkpoint, folder: Path, *, name: str, version: str, wire_id: int = 1, card: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write the packed model into ``folder`` (replaced as a whole) and return what was proved.

    Raises :class:`BoundError` or :class:`ModelError` if any exact layer could leave float32's exact range.
    """
    model = checkpoint.model().eval()
    nets = exact_nets(model)
    _prove(model, nets)
    anchors = quality_anchors(torch.arange(1, QUALITIES + 1), model.config.anchors)
    with torch.no_grad():
        gain, inverse = (g[:, :, 0, 0].double().numpy() for g in model.gains(anchors))
        z_index = (anchors @ model.z_index).add(0.5).floor().clamp(0, TABLES - 1).int().numpy()
    tables = gaussian_tables(table_scales())
    arrays: dict[str, NDArray[Any]] = {
        "tables.frequency": tables.frequency,
        "tables.radius": tables.radius,
        "z_index": z_index,
        "gain": np.round(gain * 2**GAIN_BITS).astype(np.int32),
        "inverse_gain": np.round(inverse * 2**GAIN_BITS).astype(np.int32),
    }
    graphs: dict[str, bytes] = {}
    for graph, weights in (analysis_graph(model), synthesis_graph(model)):
        graphs["analysis" if next(iter(weights)).startswith("analysis") else "synthesis"] = graph
        arrays |= {k: v.astype(np.float32 if ".packet." in k else np.float16) for k, v in weights.items()}
    for key, net in nets.items():
        arrays |= net_arrays(net)
        graphs[f"exact-{key}"] = exact_graph(net)
    plan = dataclasses.asdict(model.plan)
    plan["groups"] = [[g.start, g.stop, g.steps, g.step] for g in model.plan.groups]
    proof = {key: check_bound(net) for key, net in nets.items()}
    spec = {
        "format": 1,
        "name": name,
        "wire_id": wire_id,
        "system": "lowfirst",
        "version": version,
        "plan": plan,
        "exact": {key: net_spec(net) for key, net in nets.items()},
        "card": (card or {}) | {"parameters": sum(p.numel() for p in model.parameters()), "largest_sum": proof},
    }
    _write(folder, spec, arrays, graphs)
    return proof


def _write(folder: Path, spec: dict[str, Any], arrays: dict[str, NDArray[Any]], graphs: dict[str, bytes]) -> None:
    """Write into a folder beside the target and swap, so that no half-written model is ever found."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        save_file({k: np.ascontiguousarray(v) for k, v in sorted(arrays.items())}, partial / "weights.safetensors")
        for key, graph in graphs.items():
            (partial / f"{key}.onnx").write_bytes(graph)
        (partial / "model.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
        size = sum(f.stat().st_size for f in partial.iterdir())
        if size > SIZE_LIMIT:
            raise ModelError(f"the packed model has {size} bytes, over the {SIZE_LIMIT} that may ship. Make it smaller.")
        if (folder / "CARD.md").exists():
            shutil.copy(folder / "CARD.md", partial / "CARD.md")
        if folder.exists():
            shutil.rmtree(folder)
        partial.chmod(0o755)
        for file in partial.iterdir():
            file.chmod(0o644)  # others may read what this user packed
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
