"""A trained low-bit model as an ONNX graph with QuantizeLinear and DequantizeLinear, 8-bit containers.

After training, ranges are constants. The shift of an input channel moves into the integer weights, as in the
codec's exact networks, and the channel itself is multiplied by a power of two before it is quantised:

    x ─ Mul 2^g_k ─ Clip ─ QuantizeLinear ─ DequantizeLinear ─ Conv/Gemm ◄─ DequantizeLinear ◄─ int8 weights

so any engine that knows QDQ can run the product in int8. A layer whose shifted weight does not fit int8 is
refused.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.errors import TrainingError
from bifocal.learn.lowbit.layers import LowBitConv2d, LowBitLinear
from bifocal.learn.lowbit.norms import LowBitLayerNorm
from bifocal.learn.nets.quantiser import CHANNEL, Quantiser
from bifocal.learn.packing.graphs import OPSET, quiet
from bifocal.storage.filesystem import write_atomically


class _Exported(nn.Module):
    """A converted layer with constant ranges: the operators that the graph shall have."""

    def __init__(self, name: str, layer: LowBitLinear | LowBitConv2d) -> None:
        super().__init__()
        bits = layer.settings.bits
        if bits.groups == CHANNEL:
            raise TrainingError(f'layer {name} has groups="{CHANNEL}", which no integer product can use.')
        if not bool(layer.seen.any()):
            raise TrainingError(f"layer {name} has seen no input yet. Train the model, then export it.")
        shape = [1, -1] if layer.geometry is None else [1, -1, 1, 1]
        ranges = layer.seen.reshape(shape)
        if bits.groups == 1:
            ranges = ranges.max().reshape([1] * len(shape))
        quantiser = Quantiser(bits.forward, bits.groups)
        found = quantiser(torch.zeros([1, len(layer.seen), *[1] * (len(shape) - 2)]), (1,), ranges=ranges)
        weight = Quantiser(bits.forward)(layer.weight.detach(), ())
        if weight.largest << quantiser.depth > 127:
            raise TrainingError(
                f"layer {name}: a weight of {bits.forward} bits shifted by up to {quantiser.depth} needs "
                f"{bits.forward + quantiser.depth} bits; int8 has 8. Use fewer groups or bits."
            )
        shifts = torch.zeros(1) if found.shifts is None else found.shifts
        back = torch.exp2(quantiser.depth - shifts)
        integers = weight.integers * (back if back.numel() > 1 else back.flatten()[0])
        gain = torch.exp2(shifts)
        self.register_buffer("gain", gain[..., :, None, None] if gain.ndim == 1 else gain)
        self.register_buffer("integers", integers.to(torch.int8))
        self.register_buffer("scale", found.scale.clone())
        self.register_buffer("weight_scale", (weight.scale * 2.0**-quantiser.depth).clone())
        self.register_buffer("zero", torch.zeros((), dtype=torch.int8))
        self.bias = layer.bias
        self.limit = float(found.scale) * quantiser.largest
        self.geometry, self.grouped = layer.geometry, gain.numel() > 1

    gain: Tensor
    integers: Tensor
    scale: Tensor
    weight_scale: Tensor
    zero: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.grouped:
            x = x * self.gain
        x = x.clamp(-self.limit, self.limit)
        whole = _op("QuantizeLinear", (x, self.scale, self.zero), torch.int8, x.shape)
        x = _op("DequantizeLinear", (whole, self.scale, self.zero), torch.float32, x.shape)
        stored = (self.integers, self.weight_scale, self.zero)
        weight = _op("DequantizeLinear", stored, torch.float32, self.integers.shape)
        if self.geometry is None:
            return F.linear(x, weight, self.bias)
        g = self.geometry
        return F.conv2d(x, weight, self.bias, g.stride, g.padding, g.dilation)


def _op(name: str, inputs: tuple[Tensor, ...], dtype: torch.dtype, shape: torch.Size) -> Tensor:
    made: Tensor = torch.onnx.ops.symbolic(name, inputs, dtype=dtype, shape=tuple(shape), version=OPSET)
    return made


def export_onnx(model: nn.Module, path: Path, example: Tensor) -> Path:
    """Write a converted, trained model as an int8 QDQ graph, with a dynamic batch; the model stays as it is.

    :raises TrainingError: if a layer cannot be exported, with its name, or torch cannot trace the model.
    """
    shown = copy.deepcopy(model).eval()
    found = 0
    for name, layer in list(shown.named_modules()):
        if isinstance(layer, LowBitLayerNorm) and layer.settings.bits:
            raise TrainingError(
                f"layer {name} is a quantised layer norm, whose ranges are those of each input. Convert with "
                "norm_bits=0 to export."
            )
        if not isinstance(layer, LowBitLinear | LowBitConv2d) or not layer.settings.bits.forward:
            continue
        parent, _, last = name.rpartition(".")
        made = _Exported(name, layer)
        found += 1
        if name:
            setattr(shown.get_submodule(parent), last, made)
        else:
            shown = made.eval()
    if not found:
        raise TrainingError("no layer of the model has an integer forward product. Call convert first.")
    batch = torch.export.Dim.DYNAMIC
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                *(shown, (example,)),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=["x"],
                output_names=["y"],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter's own errors have no class in common
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(f"the model cannot become an ONNX graph: {first}") from error
    assert program is not None
    write_atomically(path, bytes(program.model_proto.SerializeToString()))
    return path
