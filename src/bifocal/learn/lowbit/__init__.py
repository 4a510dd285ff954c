"""Training in integers below eight bits, for any torch model: ShiftQuant's group scales and L1 norms.

    from bifocal.learn.lowbit import Policy, convert

    model = convert(model, Policy(forward=4, backward=4, groups=4, first_last=8))

then trains with any optimiser. docs/lowbit.md says what is the paper's and what is ours.
"""

from bifocal.learn.lowbit.convert import LayerReport, Policy, convert, report
from bifocal.learn.lowbit.export import export_onnx
from bifocal.learn.lowbit.masters import integer_masters
from bifocal.learn.lowbit.norms import folded
from bifocal.learn.nets.quantiser import CHANNEL, Quantised, Quantiser

__all__ = [
    "CHANNEL",
    "LayerReport",
    "Policy",
    "Quantised",
    "Quantiser",
    "convert",
    "export_onnx",
    "folded",
    "integer_masters",
    "report",
]
