"""HeatViT in 8-bit integers with power-of-two scales, and the same in floats, from one description.

`quantise` reads the integers off a trained model; scales come from the largest values on a few pictures.
`run_integer` takes the tokens of one picture (after the stem, class token first) through blocks, selectors
and packages to logits, in either arithmetic of `learn/nets/heads/fixed_point.py`. GELU, softmax and sigmoid
are the polynomials with the model's factors; a model that was not trained with them is run with factors of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.fixed_point import (
    BYTE,
    GAIN,
    NORM,
    STREAM,
    STREAM_MAX,
    WIDE,
    WIDE_MAX,
    Floats,
    Integers,
    Ints,
    Norm,
    exp,
    fixed,
    gelu,
    normalise,
    power,
    quantise_norm,
    rescale,
    sigmoid,
)
from bifocal.learn.nets.heads.heatvit import HeatViT
from bifocal.learn.nets.heads.polynomial import Polynomials
from bifocal.learn.nets.heads.selector import GroupedLinear, TokenSelector
from studies.heatvit.fixed_point import Layer, accumulate, apply, quantise_layer

HALF = 2**15  # of a score


@dataclass(frozen=True)
class IntegerBlock:
    """A block; ``parts`` are the fraction bits of queries, keys and values."""

    norm1: Norm
    qkv: Layer
    parts: tuple[int, int, int]
    proj: Layer
    norm2: Norm
    fc1: Layer
    fc2: Layer


@dataclass(frozen=True)
class IntegerSelector:
    norm: Norm
    local: Layer
    hidden: tuple[Layer, ...]
    judge: Layer
    head_in: Layer
    head_out: Layer


@dataclass(frozen=True)
class IntegerViT:
    """A pruned transformer after its stem; ``selectors`` by the block they stand before."""

    blocks: tuple[IntegerBlock, ...]
    selectors: dict[int, IntegerSelector]
    norm: Norm
    head: Layer
    heads: int
    package: bool
    polynomials: Polynomials


@dataclass(frozen=True)
class IntegerAnswer:
    """``logits`` as integers with ``fraction`` bits; for every stage the ``scores`` (16 fraction bits) of all
    tokens but the class token, and the ``positions`` that stayed."""

    logits: Ints
    fraction: int
    scores: tuple[Ints, ...]
    positions: tuple[Ints, ...]


def quantise(model: HeatViT, x: Tensor) -> IntegerViT:
    """Integers of a trained model of our transformer, calibrated on stem inputs ``x [b, c, h, w]``.

    :raises ValueError: if its selectors read bits, which have no integer form yet, or are not learned ones.
    """
    selectors = {int(k): s for k, s in model.selectors.items()}
    if model.config.bits or not all(isinstance(s, TokenSelector) for s in selectors.values()):
        raise ValueError("only learned selectors that read tokens alone have an integer form.")
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def watch(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        now = inputs[0].abs().max(), output.abs().flatten(0, -2).amax(0)
        old = seen.get(module, now)
        seen[module] = torch.maximum(now[0], old[0]), torch.maximum(now[1], old[1])

    kinds = (nn.Linear, GroupedLinear)
    hooks = [m.register_forward_hook(watch) for m in model.modules() if isinstance(m, kinds)]
    with torch.no_grad():
        model.eval().run(x, masked=False)
    for hook in hooks:
        hook.remove()

    def layer(module: Any) -> Layer:
        weight = module.weight.mT if isinstance(module, nn.Linear) else module.weight
        return quantise_layer(weight, module.bias, float(seen[module][0]))

    def block(b: Any) -> IntegerBlock:
        q, k, v = (power(float(part.max())) for part in seen[b.attn.qkv][1].chunk(3))
        norm1, norm2 = (quantise_norm(n.weight, n.bias) for n in (b.norm1, b.norm2))
        mlp = layer(b.mlp.fc1), layer(b.mlp.fc2)
        return IntegerBlock(norm1, layer(b.attn.qkv), (q, k, v), layer(b.attn.proj), norm2, *mlp)

    def selector(s: Any) -> IntegerSelector:
        norm, hidden = quantise_norm(s.norm_weight, s.norm_bias), tuple(layer(m) for m in s.hidden)
        heads = layer(s.head_in), layer(s.head_out)
        return IntegerSelector(norm, layer(s.local), hidden, layer(s.judge), *heads)

    backbone = model.backbone
    return IntegerViT(
        blocks=tuple(block(b) for b in backbone.blocks),
        selectors={k: selector(s) for k, s in selectors.items()},
        norm=quantise_norm(backbone.norm.weight, backbone.norm.bias),
        head=layer(backbone.head),
        heads=backbone.blocks[0].attn.num_heads,
        package=model.config.package,
        polynomials=model.config.polynomials or Polynomials(1.0, 1.0),
    )


def run_integer(net: IntegerViT, tokens: np.ndarray, arithmetic: Integers | Floats) -> IntegerAnswer:
    """One picture's tokens ``[m, d]``, floats after the stem, class token first, in either arithmetic.

    :raises OverflowError: if an accumulator leaves 32 bits (`Integers` only).
    """
    k: Any = arithmetic
    x = np.floor(np.asarray(tokens, np.float64) * 2**STREAM + 0.5)
    x = k.load(np.clip(x, -STREAM_MAX, STREAM_MAX).astype(np.int64))
    position, packaged = np.arange(-1, len(x) - 1), False
    scores, positions = [], []
    for number, block in enumerate(net.blocks):
        if number in net.selectors:
            score = judge(k, net, net.selectors[number], x[1:])
            known = k.numpy(score)
            stay = known >= HALF
            stay[-1] &= not packaged
            kept, gone = ([0, *(np.flatnonzero(stay) + 1)], (np.flatnonzero(~stay) + 1).tolist())
            parts, position = [x[kept]], position[kept]
            if net.package and gone:
                weight = score[[i - 1 for i in gone]]
                weight = weight if int(known[~stay].sum()) else 0 * weight + 1
                parts.append(k.divide((weight[:, None] * x[gone]).sum(0), weight.sum())[None])
                position, packaged = np.append(position, -1), True
            x = k.cat(parts, 0)
            scores.append(known)
            positions.append(position[position >= 0])
        x = run_block(k, net, block, x)
    logits = accumulate(k, net.head, normalise(k, net.norm, x[:1]), NORM + GAIN)
    return IntegerAnswer(k.numpy(logits)[0], net.head.fraction, tuple(scores), tuple(positions))


def run_block(k: Any, net: IntegerViT, block: IntegerBlock, x: Any) -> Any:
    """One block on the residual stream ``[m, d]``."""
    m, d = x.shape
    both = accumulate(k, block.qkv, normalise(k, block.norm1, x), NORM + GAIN)
    q, key, v = (
        rescale(k, both[:, i * d : (i + 1) * d], block.qkv.fraction, bits, BYTE)
        .reshape(m, net.heads, -1)
        .swapaxes(0, 1)
        for i, bits in enumerate(block.parts)
    )
    scale = fixed((d // net.heads) ** -0.5, 14)
    s = k.product(q, key.swapaxes(1, 2)) * scale
    s = rescale(k, s, block.parts[0] + block.parts[1] + 14, WIDE, WIDE_MAX)
    e = exp(k, s - k.largest(s))
    p = k.clip(k.divide(e * fixed(net.polynomials.delta2, 8), e.sum(-1)[..., None]), 0, 255)
    y = k.product(p, v).swapaxes(0, 1).reshape(m, d)
    y = apply(k, block.proj, y, 8 + block.parts[2], STREAM, STREAM_MAX)
    x = k.clip(x + y, -STREAM_MAX, STREAM_MAX)
    y = apply(k, block.fc1, normalise(k, block.norm2, x), NORM + GAIN, WIDE)
    y = apply(k, block.fc2, gelu(k, y, net.polynomials.delta1), WIDE, STREAM, STREAM_MAX)
    return k.clip(x + y, -STREAM_MAX, STREAM_MAX)


def judge(k: Any, net: IntegerViT, selector: IntegerSelector, x: Any) -> Any:
    """Keep scores ``[n]`` with 16 fraction bits of tokens ``[n, d]``, class token excluded."""
    n, delta = len(x), net.polynomials.delta1
    parts = x.reshape(n, net.heads, -1).swapaxes(0, 1)  # [heads, n, d / heads]
    f = gelu(k, apply(k, selector.local, normalise(k, selector.norm, parts), NORM + GAIN, WIDE), delta)
    whole = k.divide(f.sum(1)[:, None], n)
    f = k.cat([f, whole + 0 * f], 2)
    for layer in selector.hidden:
        f = gelu(k, apply(k, layer, f, WIDE, WIDE), delta)
    t = apply(k, selector.judge, f, WIDE, WIDE)
    e = exp(k, t - k.largest(t))
    keep = k.divide(e[..., 0] * 2**WIDE, e.sum(-1))
    means = k.divide(parts.sum(-1), parts.shape[2]).swapaxes(0, 1)
    a = apply(
        k, selector.head_out, gelu(k, apply(k, selector.head_in, means, STREAM, WIDE), delta), WIDE, WIDE
    )
    a = k.clip(sigmoid(k, a), 1, 2**WIDE).swapaxes(0, 1)
    return k.divide((a * keep).sum(0), a.sum(0))
