"""The inverse of packing: the weights of a codec from its packed model, to train on from.

A packed model has every integer that the entropy decoder uses, and the float networks in half precision or
bytes; so it is as good a start as a checkpoint, and repositories need not keep both. What is read off:

* weights of exact networks, ``W·2^-e``, with ``e`` from the packed shift;
* biases and gains, which were packed for all 100 qualities: tables of anchors whose interpolation rounds to
  the same integers at each of them (:func:`anchor_table`), but for one in ten thousand that is off by one
  (where float32 has no table that fits): `bifocal-train pack --streams-of MODEL` takes the integers as they
  were, for a codec whose entropy networks were not trained;
* float networks of two paths, those of `lapped` and `lowfirst`, whose first convolutions packing stacks;
  other systems are exported by torch, which leaves some weights inside its graphs, and are refused;
* reconstruction points, as if so many symbols had been seen (:data:`SEEN`) that training soon measures anew.

Not read off: the state of the optimiser; the floats behind the integers, which small checkpoints lack, too;
the recipes of runs, which the card leaves out; and the fitted tables of symbols, which packing fits again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bifocal.errors import ModelError, TrainingError
from bifocal.learn.nets.codec import QUALITIES, Codec, CodecConfig, quality_anchors
from bifocal.learn.nets.entropy.coding import FEW_SYMBOLS
from bifocal.learn.nets.entropy.exact import ExactConv
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.learn.systems.registry import find_system
from bifocal.runtime.model import GAIN_UNIT, Model, read_spec
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer

Floats = NDArray[np.float64]
Weights = dict[str, Tensor]
#: Reconstruction points count as the mean of so many symbols.
SEEN = 1e4
#: How far from a whole number an interpolated value may be and still round to it: less than a half, by what
#: float32 loses on the way.
MARGIN = 0.498
#: As near as float32 comes to a logarithm of order 4 by interpolation, with a few roundings of 2^-22 each.
LOG_STEP = 2.0**-20
#: Rounds of :func:`anchor_table`; a few dozen are usual.
ROUNDS = 300


def unpack(folder: Path) -> tuple[CodecConfig, Weights, tuple[dict[str, Any], ...]]:
    """Configuration, weights and history of the packed model in ``folder``.

    :raises TrainingError: if it does not hold all of them.
    """
    try:
        spec, model = read_spec(folder), Model.load(folder)
    except ModelError as error:
        raise TrainingError(f"{folder} cannot be trained on: {error}") from error
    if "config" not in spec:
        raise TrainingError(
            f"the model in {folder} was packed without its configuration, by Bifocal 0.4 or older: it "
            "decodes, but training cannot go on from it. Resume from its checkpoint, or pack that again."
        )
    try:
        return _unpacked(spec, model)
    except ModelError as error:
        raise TrainingError(f"{folder} cannot be trained on: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise TrainingError(
            f"the model in {folder} does not fit its configuration ({error!r}): it is damaged, or of "
            "another release. Install it, or pack its checkpoint, again."
        ) from error


def _unpacked(
    spec: Mapping[str, Any], model: Model
) -> tuple[CodecConfig, Weights, tuple[dict[str, Any], ...]]:
    """:func:`unpack`; where a folder lacks something, by any error of Python."""
    system = find_system(str(spec["system"]))
    config = system.config(**spec["config"])
    codec = system.codec(config)
    found = {**_exact_networks(codec, model), **_gains(codec, model), **_float_networks(codec, model)}
    state = codec.state_dict()
    unknown = sorted(name for name in state if name not in found)
    if unknown:
        raise TrainingError(
            f"a packed {system.name} model does not hold {unknown[0]} and {len(unknown) - 1} other weights "
            "by themselves. Resume from its checkpoint."
        )
    for name, value in state.items():
        if found[name].shape != value.shape:
            raise ValueError(name)
    history = spec.get("card", {}).get("training", [])
    return config, {name: found[name].to(state[name]) for name in state}, tuple(history)


def check_same_streams(made: EntropyModel, kept: EntropyModel) -> None:
    """Refuse to take the integers of ``kept`` for a codec whose own, ``made``, are not the same but for
    roundings of biases and of reconstruction points, which `unpack` leaves.

    :raises ModelError: then.
    """
    same = made.plan == kept.plan and np.abs(made.z_index - kept.z_index).max() <= 1
    nets = zip((made.hyper, *made.predictors), (kept.hyper, *kept.predictors), strict=same)
    for one, other in nets if same else ():
        for a, b in zip(one.layers, other.layers, strict=False):
            same = same and a.weight.shape == b.weight.shape and a.bias.shape == b.bias.shape
            same = same and np.array_equal(a.weight, b.weight) and np.array_equal(a.shift, b.shift)
            same = same and np.abs(a.bias - b.bias).max() <= 1
    if not same:
        raise ModelError(
            f"the entropy networks are not those of {kept.name}: they were trained since it was packed, so "
            'their streams are others. Leave --streams-of out, or train with part = "synthesis".'
        )


def anchor_table(weights: Floats, wanted: Floats, scale: Floats | None = None) -> Floats:
    """A table ``[a, n]`` whose interpolation by ``weights [q, a]`` is everywhere within half a step of
    ``wanted [q, n]``; steps are 1, or ``1/scale [q, n]``.

    The table that was packed is one, so the one with the smallest largest error is, too. It is found by least
    squares whose weights grow where errors are large (Lawson's algorithm). Where that has not got there after
    :data:`ROUNDS`, with few anchors for many qualities, single values round to the next integer.

    :raises ModelError: if it is not even near.

    >>> weights = np.array([[1, 0], [0.5, 0.5], [0, 1]])
    >>> np.rint(weights @ anchor_table(weights, np.array([[0.0], [1.0], [3.0]])))[:, 0].astype(int).tolist()
    [0, 1, 3]
    """
    scale = np.ones_like(wanted) if scale is None else scale
    table = np.zeros((weights.shape[1], wanted.shape[1]))
    best = np.full(wanted.shape[1], np.inf)
    heed, left = scale**2, np.arange(wanted.shape[1])
    for _ in range(ROUNDS):
        normal = np.einsum("qn,qa,qb->nab", heed, weights, weights)
        right = np.einsum("qn,qa->na", heed * wanted[:, left], weights)
        fitted = np.linalg.solve(normal, right[:, :, None])[:, :, 0].T
        off = np.abs((weights @ fitted - wanted[:, left]) * scale[:, left])
        largest = off.max(0)
        better = largest < best[left]
        table[:, left[better]], best[left[better]] = fitted[:, better], largest[better]
        far = best[left] > MARGIN
        if not far.any():
            break
        left, heed = left[far], (heed * (off + 1e-3))[:, far]
        heed = np.maximum(heed / heed.mean(0), 1e-9)  # all rows stay in, or the equations become singular
    if best.max(initial=0) > 1:
        raise ModelError("the values of its qualities are not those of a table of anchors. Install it again.")
    return table


def _anchors(codec: Codec) -> Floats:
    quality = torch.arange(1, QUALITIES + 1)
    return np.asarray(quality_anchors(quality, codec.config.anchors).double().numpy())


def _exact_networks(codec: Codec, model: Model) -> Weights:
    entropy = model.entropy
    packed = {net.name: net.layers for net in (entropy.hyper, *entropy.predictors)}
    names = {id(part): name for name, part in codec.named_modules()}
    found: Weights = {}
    for key, layers in codec.exact_layers.items():
        for layer, integers in zip(layers, packed[key], strict=True):
            values = _layer(layer, integers, _anchors(codec))
            found |= {f"{names[id(layer)]}.{name}": value for name, value in values.items()}
    table = anchor_table(_anchors(codec), np.asarray(entropy.z_index, np.float64))
    found["z_index"] = torch.from_numpy(table)
    if codec.reconstruction is not None and entropy.reconstruction is not None:
        shift = torch.from_numpy(entropy.reconstruction / 2.0**entropy.plan.fraction)
        found["reconstruction.total"] = shift * (SEEN + FEW_SYMBOLS)
        found["reconstruction.count"] = torch.full(shift.shape, SEEN)
    return found


def _layer(layer: ExactConv, packed: ExactLayer, weights: Floats) -> Weights:
    """The parameters of a layer from its integers."""
    fraction = layer.row_fraction.double().numpy()
    shift = packed.shift.astype(np.float64)
    e = shift - layer.source.fraction + fraction
    kernel = packed.weight * 2.0 ** -e[:, None, None, None]
    half = np.where(shift > 0, 2.0 ** (shift - 1), 0)
    unit = 2.0 ** -(e + layer.source.fraction)
    bias = np.asarray(packed.bias - half, np.float64)
    found: dict[str, Floats] = {"weight": kernel}
    if layer.quality_bias is None:
        found["bias"] = bias[0] * unit
    else:
        found["bias"] = np.zeros_like(unit)
        found["quality_bias"] = anchor_table(weights, bias) * unit
    return {name: torch.from_numpy(value) for name, value in found.items()}


def _gains(codec: Codec, model: Model) -> Weights:
    """Logarithms of gains at the anchors: those whose interpolation rounds to the packed integers, as far as
    float32 tells large ones apart."""
    found, weights = {}, _anchors(codec)
    for name in ("gain", "inverse_gain"):
        packed = np.maximum(model.gains[name].astype(np.float64), GAIN_UNIT / 4)
        steps = np.minimum(packed / GAIN_UNIT, 1 / LOG_STEP)
        logarithms = anchor_table(weights, np.log(packed), steps)
        found[f"log_{name}"] = torch.from_numpy(logarithms)
    return found


#: The networks of a packed model that may be two paths, and what they are called in the codec.
TWO_PATHS = {"analysis": "analysis", "synthesis": "synthesis", "half": "to_half", "thumb": "to_thumb"}


def _float_networks(codec: Codec, model: Model) -> Weights:
    found: Weights = {}
    for network, attribute in TWO_PATHS.items():
        part = getattr(codec, attribute, None)
        if isinstance(part, TwoPaths):
            values = _two_paths(part, network, model.float_weights(network))
            found |= {f"{attribute}.{name}": value for name, value in values.items()}
    hyper = model.float_weights("hyper_analysis")
    convolutions = [i for i, m in enumerate(codec.hyper_analysis) if isinstance(m, nn.Conv2d)]
    for number, i in enumerate(convolutions):
        for kind in ("weight", "bias"):
            found[f"hyper_analysis.{i}.{kind}"] = torch.from_numpy(hyper[f"hyper_analysis.{number}.{kind}"])
    return found


def _two_paths(part: TwoPaths, network: str, packed: Mapping[str, NDArray[np.float32]]) -> Weights:
    """The parameters of a linear and a deep path, whose first convolutions are stacked when packed."""
    weight, bias = (torch.from_numpy(packed[f"{network}.first.{kind}"]) for kind in ("weight", "bias"))
    n = part.linear.out_channels
    found = {"linear.weight": weight[:n], "linear.bias": bias[:n], "scale": part.scale}
    if part.deep:
        found |= {"stem.weight": weight[n:] / part.scale, "stem.bias": bias[n:]}
        for name in (
            "tail",
            *(f"block.{i}.{k}" for i in range(len(part.blocks)) for k in ("first", "second")),
        ):
            own = name.replace("block.", "blocks.")
            for kind in ("weight", "bias"):
                found[f"{own}.{kind}"] = torch.from_numpy(packed[f"{network}.{name}.{kind}"])
    return found
