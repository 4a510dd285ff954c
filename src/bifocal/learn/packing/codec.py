"""Packing: from a checkpoint to the folder that a runtime without torch encodes and decodes with.

Packing makes every integer the entropy decoder will ever use (weights, biases for all 100 qualities,
tables, gains), proves the bound of every output row of every exact layer, and writes nothing if a row
fails. It then runs the packed networks beside the torch model and compares their integers.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from bifocal import __version__
from bifocal.errors import ModelError
from bifocal.learn.checkpoint import Checkpoint, load_checkpoint
from bifocal.learn.data.crops import Pixels, load_corpus
from bifocal.learn.nets.codec import HYPER, QUALITIES, Codec, quality_anchors, quality_lambda
from bifocal.learn.nets.entropy.exact import ExactConv, integer_layer
from bifocal.learn.nets.entropy.prior import SCALE_MAX, SCALE_MIN, TABLES
from bifocal.learn.nets.quantiser import byte_rows
from bifocal.learn.packing.adjoint import adjoint_graph
from bifocal.learn.packing.exact_graphs import exact_graph
from bifocal.learn.packing.graphs import Graphs, codec_graphs, reach
from bifocal.learn.packing.heads import label_head
from bifocal.learn.packing.int8 import calibration, int8_graph
from bifocal.learn.packing.two_path_graphs import hyper_analysis_graph, two_path_graphs
from bifocal.learn.systems.registry import system_of
from bifocal.learn.unpack import check_same_streams
from bifocal.runtime.doctor import EngineCheck, examine
from bifocal.runtime.model import GAIN_UNIT, HALO, Model, model_folder
from bifocal.runtime.windows import padded_size
from bifocal.storage.filesystem import write_atomically
from bifocal.stream.coder import Tables
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer, ExactNet, NumpyEngine, check_bound, run_int64
from bifocal.stream.latents import coded_symbols
from bifocal.stream.limits import TILE_UNIT
from bifocal.stream.tables import fitted_tables, logistic_tables, scale_ladder

#: Systems whose float networks are written by hand, because fusing their paths is faster; all others are
#: exported by torch.
FUSED: dict[str, Callable[[Codec], Graphs]] = {"lowfirst": two_path_graphs, "lapped": two_path_graphs}
LICENCE = "Apache-2.0"
FIT_SIDE = 512
FIT_QUALITIES = (5, 25, 50, 75, 95)
SIZE_LIMIT = 16 * 2**20
#: Side of the core of a window of systems whose networks work at high resolutions: those need more memory.
CORE = 576


def exact_net(
    name: str, layers: list[ExactConv], input_max: NDArray[np.int32], anchors: torch.Tensor
) -> ExactNet:
    """The integers of trained layers, with the bound proved. ``anchors`` are those of all 100 qualities."""
    made = []
    for layer in layers:
        weight, bias, shift = (t.numpy() for t in integer_layer(layer, anchors))
        if np.abs(weight).max() > 127 or shift.min() < 0 or shift.max() > 24:
            raise ModelError(
                f"{name}: a weight row needs {np.abs(weight).max()} of 127 or a shift of {shift.min()} to "
                f"{shift.max()} of 0 to 24; the network left its range. Train with exact = true, then pack."
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


def exact_nets(model: Codec) -> dict[str, ExactNet]:
    """All networks the entropy decoder needs: ``hyper`` and ``predict.K``."""
    config, plan = model.config, model.plan
    anchors = quality_anchors(torch.arange(1, QUALITIES + 1), config.anchors)
    hyper_max = np.full(config.hyper, HYPER.largest, np.int32)
    features = np.full(config.features, model.wire.activation.hi, np.int32)
    predictor_max = np.concatenate([features, np.full(plan.y_channels, plan.context_max, np.int32)])
    return {
        name: exact_net(name, layers, hyper_max if name == "hyper" else predictor_max, anchors)
        for name, layers in model.exact_layers.items()
    }


def _prove(model: Codec, nets: dict[str, ExactNet]) -> None:
    """Run packed integers (int64) beside the torch model's exact mode on random inputs: equal or an error."""
    rng = np.random.default_rng(0)
    for quality in (1, 37, 100):
        anchors = quality_anchors(torch.tensor([quality]), model.config.anchors)
        for name, net in nets.items():
            x = rng.integers(-40, 41, (net.inputs, 6, 5)).astype(np.int32)
            if name != "hyper":
                x[: model.config.features] = np.abs(x[: model.config.features])
            layers = model.exact_layers[name]
            real = torch.from_numpy(x)[None].float() * 2.0 ** -layers[0].source.fraction
            with torch.no_grad():
                for layer in layers:
                    real = layer(real, anchors, True)
            fraction = layers[-1].row_fraction
            unit = 2.0 ** (fraction[::4] if layers[-1].shuffle else fraction)
            got = (real[0] * unit[:, None, None]).numpy().astype(np.int64)
            if not np.array_equal(got, run_int64(net, x, quality)):
                raise ModelError(
                    f"{name}: packed integers and the trained network differ. This is a bug; report it."
                )


def fit_tables(model: Codec, entropy: EntropyModel, pictures: Sequence[Pixels]) -> Tables:
    """The model's tables refitted to the symbols of ``pictures`` (uint8 ``[h, w, 3]``) at five qualities.

    Which symbols are coded does not depend on the tables, so one pass suffices. Training pictures only.
    """
    values, index = [], []
    for picture in pictures:
        h, w = (min(side, FIT_SIDE) // 64 * 64 for side in picture.shape[:2])
        pixels = torch.from_numpy(picture[:h, :w].copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            plain = model.analyse(pixels)
            for quality in FIT_QUALITIES:
                anchors = quality_anchors(torch.tensor([quality]), model.config.anchors)
                y = plain * model.gains(anchors)[0]
                z = model.hyper_latent(y)[0].numpy()
                engine = NumpyEngine()
                coded = coded_symbols(y[0].numpy(), z, quality=quality, model=entropy, engine=engine)
                values.append(coded[0])
                index.append(coded[1])
    return fitted_tables(entropy.tables, np.concatenate(values), np.concatenate(index))


def table_pictures(checkpoint: Checkpoint, data: Path, count: int = 64) -> tuple[Pixels, ...]:
    """``count`` pictures, evenly taken from those in ``data`` that the checkpoint's last run trained on."""
    recipe = checkpoint.history[-1].get("recipe", {}) if checkpoint.history else {}
    exclude = tuple(recipe.get("exclude", ()))
    corpus = load_corpus(data, exclude=exclude, validation=int(recipe.get("validation", 64)))
    return corpus.train[:: max(1, len(corpus.train) // count)][:count]


def pack(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    name: str,
    version: str,
    pictures: Sequence[Pixels] = (),
    streams_of: Model | None = None,
) -> dict[str, int]:
    """Write the packed model into ``folder`` (replaced as a whole); return each net's largest possible sum.

    ``version`` is that of the Bifocal release that first ships it, MAJOR.MINOR.PATCH; with training
    ``pictures`` the tables are fitted to their symbols, and an int8 synthesis is written where the codec
    has one. ``streams_of`` is a packed model whose streams the new one shall read, and write: all integers
    are taken from it.

    :raises BoundError: if an exact layer could leave float32's exact range.
    :raises ModelError: if the codec cannot be packed, or has learned to write other streams.
    """
    model = checkpoint.model().eval()
    if why := model.unpackable():
        raise ModelError(why)
    entropy = entropy_model(model, name, version, () if streams_of else pictures)
    graphs, arrays = dict[str, bytes](), _gains(model)
    if streams_of is not None:
        check_same_streams(entropy, streams_of.entropy)
        entropy = dataclasses.replace(streams_of.entropy, name=name, release=entropy.release)
        arrays = {key: np.rint(value / GAIN_UNIT).astype(np.int32) for key, value in streams_of.gains.items()}
    for key, (graph, weights) in float_graphs(model).items():
        graphs[key] = graph
        arrays |= _stored(weights)
    graphs |= _extra_graphs(model, graphs, arrays, pictures)
    proof = {}
    for net in (entropy.hyper, *entropy.predictors):
        graphs[f"exact-{net.name}"] = exact_graph(net)
        proof[net.name] = check_bound(net)
    prices = quality_lambda(model.config, torch.arange(1, QUALITIES + 1)).tolist()
    spec = {
        "system": system_of(model.config).name,
        "config": dataclasses.asdict(cast(Any, model.config)),
        "fingerprint": entropy.fingerprint.hex(),
        "card": _card(checkpoint, model, entropy, proof, len(pictures)),
        "prices": [float(f"{price:.6g}") for price in prices],
    }
    _write(folder, entropy, spec | _windows(model), arrays, graphs)
    return proof


def pack_checkpoint(
    path: Path,
    folder: Path | None = None,
    *,
    data: Path | None = None,
    name: str = "",
    version: str = "",
    streams_of: str = "",
) -> tuple[Path, dict[str, int]]:
    """:func:`pack` a checkpoint's file, and the label reader of a codec that has one, as ``labels.bfh``.

    Returns the folder, by default ``packed/NAME``, and each net's largest possible sum. The name is by
    default the system's, the version this release; the tables are fitted to pictures of ``data``.
    ``streams_of`` is the name or folder of a packed model: see :func:`pack`.
    """
    loaded = load_checkpoint(path)
    name = name or system_of(loaded.config).name
    folder = folder or Path("packed") / name
    pictures = table_pictures(loaded, data) if data else ()
    kept = Model.load(model_folder(streams_of)) if streams_of else None
    proof = pack(
        loaded, folder, name=name, version=version or __version__, pictures=pictures, streams_of=kept
    )
    if "labels" in loaded.model().packing_extras():
        write_atomically(folder / "labels.bfh", label_head(loaded, Model.load(folder), name))
    return folder, proof


def float_graphs(model: Codec) -> Graphs:
    """The float networks of a packed model by the names of their files, each its graph and its weights."""
    make = FUSED.get(system_of(model.config).name, codec_graphs)
    return make(model) | {"hyper_analysis": hyper_analysis_graph(model)}


def entropy_model(model: Codec, name: str, version: str, pictures: Sequence[Pixels]) -> EntropyModel:
    """Everything that the entropy decoder uses, proved against the trained networks."""
    nets = exact_nets(model)
    _prove(model, nets)
    anchors = quality_anchors(torch.arange(1, QUALITIES + 1), model.config.anchors)
    with torch.no_grad():
        z_index = (anchors @ model.z_index).add(0.5).floor().clamp(0, TABLES - 1).int().numpy()
    major, minor, patch = (int(part) for part in version.split("."))
    entropy = EntropyModel(
        name=name,
        release=(major, minor, patch),
        plan=model.plan,
        hyper=nets.pop("hyper"),
        predictors=tuple(nets.values()),
        tables=logistic_tables(scale_ladder(TABLES, SCALE_MIN, SCALE_MAX)),
        z_index=z_index,
        wire_id=model.wire.number,
        reconstruction=_reconstruction(model),
    )
    if not pictures:
        return entropy
    return dataclasses.replace(entropy, tables=fit_tables(model, entropy, pictures))


def _reconstruction(model: Codec) -> NDArray[np.int32] | None:
    """The reconstruction points that training measured, in fixed point."""
    if model.reconstruction is None:
        return None
    return np.rint(model.reconstruction.shift.numpy() * (1 << model.plan.fraction)).astype(np.int32)


def _gains(model: Codec) -> dict[str, NDArray[Any]]:
    anchors = quality_anchors(torch.arange(1, QUALITIES + 1), model.config.anchors)
    with torch.no_grad():
        gain, inverse = (g[:, :, 0, 0].double().numpy() for g in model.gains(anchors))
    return {
        "gain": np.round(gain / GAIN_UNIT).astype(np.int32),
        "inverse_gain": np.round(inverse / GAIN_UNIT).astype(np.int32),
    }


def _stored(weights: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Weights as the file holds them: half precision, and bytes where they are many and matter little.

    Those are the residual blocks of analysis: no decoder has them, and what they add to a latent may be off
    by a hundredth of it without an effect that validation shows (studies/shipped_weights).
    :meth:`~bifocal.runtime.model.Model.float_weights` reads them.
    """
    stored: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        if name.startswith("analysis.block.") and value.ndim > 1:
            rows, scale = byte_rows(torch.from_numpy(value))
            stored |= {f"{name}.int8": rows.numpy(), f"{name}.scale": scale.numpy()}
        else:
            stored[name] = value.astype(np.float32 if ".packet." in name else np.float16)
    return stored


def _extra_graphs(
    model: Codec, graphs: dict[str, bytes], arrays: dict[str, NDArray[Any]], pictures: Sequence[Pixels]
) -> dict[str, bytes]:
    """Those graphs that the codec says it has beside its networks; both share the weights of synthesis."""
    made, extras = dict[str, bytes](), model.packing_extras()
    if extras & {"adjoint", "linear adjoint"}:
        made["adjoint"] = adjoint_graph(graphs["synthesis"], linear="linear adjoint" in extras)
    if "int8" in extras and pictures:
        synthesis = {k: v.astype(np.float32) for k, v in arrays.items() if k.startswith("synthesis.")}
        made["synthesis-int8"] = int8_graph(graphs["synthesis"], synthesis, calibration(model, pictures))
    return made


def _windows(model: Codec) -> dict[str, Any]:
    """What ``model.json`` says of windows: nothing where the runtime's default is right."""
    halo = model.windows()
    if halo is None:
        return {"windows": {"core": CORE, "halo": reach(model)}}
    if dict(halo) == HALO:
        return {}
    whole = {name: padded_size(pixels, TILE_UNIT) for name, pixels in halo.items()}
    return {"windows": {"core": CORE, "halo": whole}}


def _card(
    checkpoint: Checkpoint, model: Codec, entropy: EntropyModel, proof: dict[str, int], pictures: int
) -> dict[str, Any]:
    seen = examine(EngineCheck("numpy-float32", 1), entropy, NumpyEngine())
    return {
        "licence": LICENCE,
        "parameters": sum(p.numel() for p in model.parameters()),
        "largest_sum": proof,
        "tables": f"fitted to {pictures} training pictures" if pictures else "logistic",
        "training": [{k: v for k, v in run.items() if k != "recipe"} for run in checkpoint.history],
        "doctor": {"small": seen.small, "large": seen.large},  # what `bifocal doctor` must find anywhere
    }


def _write(
    folder: Path,
    entropy: EntropyModel,
    spec: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
    graphs: dict[str, bytes],
) -> None:
    """Write into a folder beside the target and swap, so that no half-written model is ever found."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        entropy.save(partial, spec, arrays)
        for key, graph in graphs.items():
            (partial / f"{key}.onnx").write_bytes(graph)
        size = sum(f.stat().st_size for f in partial.iterdir())
        if size > SIZE_LIMIT:
            raise ModelError(
                f"the packed model has {size} bytes, over the {SIZE_LIMIT} that may ship. Make it smaller."
            )
        if (folder / "CARD.md").exists():
            shutil.copy(folder / "CARD.md", partial / "CARD.md")
        if folder.exists():
            shutil.rmtree(folder)
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
