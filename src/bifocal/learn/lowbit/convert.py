"""From a float model to one that trains in low-bit integers: what is replaced, what is refused, and why.

`convert` replaces layers in place; parameters, their names and the model's own code stay. Bounds of the
accumulators are proved here, from lengths of sums and bits alone, before any step is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.lowbit.layers import Bits, LowBitConv2d, LowBitLinear, Settings
from bifocal.learn.lowbit.norms import LowBitBatchNorm2d, LowBitLayerNorm, NormSettings
from bifocal.learn.lowbit.products import Carrier, Engine, Integers, inner_length
from bifocal.learn.nets.quantiser import CHANNEL, Groups, Quantiser

#: Engines by name, made for accumulators of so many bits.
ENGINES: dict[str, Callable[[int], Engine]] = {"carrier": lambda _: Carrier(), "integers": Integers}


@dataclass(frozen=True)
class Policy:
    """How a model is quantised.

    :param forward: bits of inputs and weights in the forward product; 0 leaves the product in float.
    :param backward: bits of gradients and of what they are multiplied with, in both products of the backward
        pass.
    :param input_gradient: of that product alone, if other than ``backward``.
    :param weight_gradient: likewise.
    :param groups: of power-of-two scales along the inner dimension: 1 is one scale for the tensor, 2, 4 and 8
        are ShiftQuant's, ``"channel"`` a scale for each channel, which is simulated in float.
    :param first_last: bits of the first and the last product layer, one scale each; 0 leaves them in float.
    :param norm: 1 or 2, the power of normalisation; 2 without ``norm_bits`` keeps torch's layers.
    :param norm_bits: of quantised normalisation; 0 is float.
    :param fused_norm: float L1 norms by compiled loops, faster on a CPU; needs Numba.
    :param stochastic: whether gradients are rounded stochastically, or to nearest.
    :param accumulator: bits of the integer sums that every product must be proved to fit.
    :param engine: ``carrier`` (integers held in floats, fast) or ``integers`` (int8 and int32): the same
        results, bit for bit.
    :param seed: of stochastic rounding.

    :raises OptionError: if a number is out of its range.
    """

    forward: int = 4
    backward: int = 4
    input_gradient: int | None = None
    weight_gradient: int | None = None
    groups: Groups = 4
    first_last: int = 8
    norm: int = 1
    norm_bits: int = 0
    fused_norm: bool = False
    stochastic: bool = True
    accumulator: int = 32
    engine: str = "carrier"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, bits in (*self.inner.products.items(), *self.outer.products.items()):
            if bits:
                _check(f"{name} of {bits} bits", bits, self.groups)
        if self.norm_bits:
            _check(f"norm_bits of {self.norm_bits}", self.norm_bits, 1)
        if self.fused_norm and (self.norm != 1 or self.norm_bits):
            raise OptionError("Policy: fused norms are float and L1: leave norm and norm_bits out.")
        if self.norm not in (1, 2):
            raise OptionError(f"Policy: norm is 1 or 2, not {self.norm}.")
        if self.engine not in ENGINES:
            raise OptionError(f"Policy: engine is one of {', '.join(ENGINES)}, not {self.engine!r}.")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise OptionError(f"Policy: seed is a whole number from 0 on, not {self.seed!r}.")
        if not 8 <= self.accumulator <= 32:
            raise OptionError(f"Policy: an accumulator of {self.accumulator} bits; give 8 to 32.")
        if self.groups == CHANNEL and self.engine == "integers":
            raise OptionError(
                f'Policy: groups="{CHANNEL}" has no integer product, since its scales are no shifts. Use '
                'groups of 2, 4 or 8, or engine="carrier" to simulate it.'
            )

    @property
    def inner(self) -> Bits:
        """Of all layers but the first and the last."""
        given = (self.input_gradient, self.weight_gradient)
        dx, dw = (self.backward if bits is None else bits for bits in given)
        return Bits(self.forward, dx, dw, self.groups)

    @property
    def outer(self) -> Bits:
        """Of the first and the last layer."""
        return Bits(self.first_last, self.first_last, self.first_last)


def _check(what: str, bits: int, groups: Groups) -> None:
    try:
        Quantiser(bits, groups)
    except OptionError as error:
        raise OptionError(f"Policy: {what}: {error}") from error


def convert(model: nn.Module, policy: Policy = Policy(), *, keep: Sequence[str] = ()) -> nn.Module:
    """Replace the layers of ``model`` by their integer versions, in place; returns the model.

    ``nn.Linear`` and ``nn.Conv2d`` become integer products, ``nn.BatchNorm2d`` and ``nn.LayerNorm`` L1 norms
    (by the policy). Parameters are the same objects, so that an optimiser made before goes on with products;
    norms get new ones. Make the optimiser afterwards.

    :param keep: names of layers that stay in float, with ``*`` for any characters: ``"stem.*"``.
    :raises TrainingError: if a layer with parameters is none of these, with the names of all such layers; if
        there is nothing to convert; or if a product could overflow its accumulator, with the bound.
    """
    names = [name for name, _ in model.named_modules()]
    unused = [pattern for pattern in keep if not any(fnmatchcase(name, pattern) for name in names)]
    if unused:
        raise TrainingError(f"keep={unused}: the model has no such layers. Its layers are {names[1:8]} …")
    products, norms, unsupported = _sorted_layers(model, keep)
    if unsupported:
        listed = "\n".join(f"  {name}: {why}" for name, why in unsupported)
        raise TrainingError(
            f"{len(unsupported)} layers have no integer version:\n{listed}\nReplace them, or leave them in "
            f"float: keep={[name for name, _ in unsupported]}."
        )
    if not products:
        raise TrainingError("the model has no linear layer and no convolution to convert.")
    edges = {products[0][0], products[-1][0]}
    planned = [(name, layer, policy.outer if name in edges else policy.inner) for name, layer in products]
    for name, layer, bits in planned:
        check_accumulators(name, layer, bits, policy.accumulator)
    engine = ENGINES[policy.engine](policy.accumulator)
    for number, (name, layer, bits) in enumerate(planned):
        if not any(bits.products.values()):
            continue
        settings = Settings(name, bits, engine, policy.seed, number, policy.stochastic)
        made = LowBitLinear if isinstance(layer, nn.Linear) else LowBitConv2d
        model = _put(model, layer, made.of(layer, settings))
    if policy.norm == 1 or policy.norm_bits:
        for number, (name, norm) in enumerate(norms, len(planned)):
            found = NormSettings(
                name, policy.norm, policy.norm_bits, policy.seed, number, policy.stochastic, policy.fused_norm
            )
            kind = LowBitBatchNorm2d if isinstance(norm, nn.BatchNorm2d) else LowBitLayerNorm
            model = _put(model, norm, kind.of(norm, found))
    return model


def check_accumulators(name: str, layer: nn.Linear | nn.Conv2d, bits: Bits, accumulator: int) -> None:
    """Prove that the sums of a layer's products stay within ``accumulator`` bits, whatever the numbers are.

    Sums of the weight gradient are as long as the batch has positions: they are made in blocks that fit, so a
    single product has to.

    :raises TrainingError: with the bound.
    """
    shape = layer.weight.shape
    lengths = {
        "forward": inner_length(shape, outputs=False),
        "input_gradient": inner_length(shape, outputs=True),
        "weight_gradient": 1,
    }
    limit = 2 ** (accumulator - 1) - 1
    for product, width in bits.products.items():
        if not width:
            continue
        quantiser = Quantiser(width, bits.groups)
        bound = lengths[product] * (quantiser.largest << quantiser.depth) * quantiser.largest
        if bound > limit:
            raise TrainingError(
                f"layer {name}: sums of its {product.replace('_', ' ')} may reach {bound:,} "
                f"({lengths[product]:,} products of {quantiser.largest << quantiser.depth} and "
                f"{quantiser.largest}), above 2^{accumulator - 1} - 1 = {limit:,} of its {accumulator}-bit "
                "accumulator. Use fewer bits or groups, a wider accumulator, or keep this layer in float."
            )


Found = tuple[str, Any]


def _sorted_layers(
    model: nn.Module, keep: Sequence[str]
) -> tuple[list[Found], list[Found], list[tuple[str, str]]]:
    """Layers by what becomes of them: products, norms, and those without an integer version, with why."""
    products: list[Found] = []
    norms: list[Found] = []
    unsupported: list[tuple[str, str]] = []
    inside_refused: list[str] = []
    for name, layer in model.named_modules():
        if any(fnmatchcase(name, pattern) for pattern in keep):
            continue
        if any(name.startswith(f"{outer}.") for outer in inside_refused):
            continue
        if isinstance(layer, LowBitLinear | LowBitConv2d | LowBitBatchNorm2d | LowBitLayerNorm):
            unsupported.append((name, "it is converted already; convert a float model."))
        elif why := _why_not(layer):
            unsupported.append((name, why))
            inside_refused.append(name)
        elif isinstance(layer, nn.Linear | nn.Conv2d):
            products.append((name, layer))
        elif isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            norms.append((name, layer))
    return products, norms, unsupported


def _why_not(layer: nn.Module) -> str:
    """Why a layer has no integer version; empty if it has one, or needs none."""
    kind = type(layer).__name__
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1:
            return f"a convolution of {layer.groups} groups; write it as separate convolutions."
        if layer.padding_mode != "zeros":
            return f"padding by {layer.padding_mode}; pad before the convolution (F.pad)."
        if layer.padding == "same" and any(
            d * (k - 1) % 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)
        ):
            return 'padding "same" of an even kernel; pad before the convolution (F.pad).'
    for kept in (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm):
        if isinstance(layer, kept):
            own = type(layer).forward is not kept.forward
            return f"{kind} has a forward of its own, which a conversion would lose." if own else ""
    if isinstance(layer, nn.MultiheadAttention):
        return "it multiplies inside one function; write it with nn.Linear layers (nets/heads/vit.py)."
    if isinstance(layer, _BatchNorm):
        return f"{kind}; only BatchNorm2d has an integer version."
    has_parameters = any(True for _ in layer.parameters(recurse=False))
    if has_parameters and type(layer).__module__.startswith("torch.nn") and not isinstance(layer, nn.PReLU):
        return f"{kind} has no integer product here."
    return ""


def _put(model: nn.Module, layer: nn.Module, made: nn.Module) -> nn.Module:
    """``model`` with ``layer`` replaced wherever it is used; that may be the model itself."""
    if layer is model:
        return made
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is layer:
                setattr(parent, name, made)
    return model


@dataclass(frozen=True)
class LayerReport:
    """What a converted layer computes with. ``container`` is the bits of the shifted operand."""

    name: str
    kind: str
    forward: int
    input_gradient: int
    weight_gradient: int
    groups: str
    container: int


def report(model: nn.Module) -> tuple[LayerReport, ...]:
    """A row for each converted layer: bits of its three products (0: float), groups, bits of the container.

    Norms have the same bits in all three columns, those of values and gradients.
    """
    rows = []
    for name, layer in model.named_modules():
        if isinstance(layer, LowBitLinear | LowBitConv2d):
            bits = layer.settings.bits
            used = [width for width in bits.products.values() if width]
            container = max(Quantiser(width, bits.groups).container for width in used)
            kind = "linear" if isinstance(layer, LowBitLinear) else "conv2d"
            widths = (bits.forward, bits.input_gradient, bits.weight_gradient)
            rows.append(LayerReport(name, kind, *widths, str(bits.groups), container))
        elif isinstance(layer, LowBitBatchNorm2d | LowBitLayerNorm):
            width = layer.settings.bits
            kind = (
                f"{'batch' if isinstance(layer, LowBitBatchNorm2d) else 'layer'} norm L{layer.settings.power}"
            )
            rows.append(LayerReport(name, kind, width, width, width, "-", width))
    return tuple(rows)
