"""Integer products and L1 norms beside what torch runs fastest, at the shapes of the low-bit networks.

    OMP_NUM_THREADS=1 python -m benchmarks.lowbit [--repeats 30] [--docs]

Ratios of processor time in one run, one thread, the alternatives taking turns, medians. Products: int8 by
``torch._int_mm``, alone and with what low bits need charged (ranges, group scales, rounding, shifts, the
final scale), beside float32 and bfloat16. Norms: forward and backward of ours beside torch's fused layer. Run
it on a machine with nothing else on it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import reporting
from bifocal.learn.lowbit.norms import LowBitBatchNorm2d, LowBitLayerNorm, NormSettings
from bifocal.learn.lowbit.products import matrix_product
from bifocal.learn.nets.quantiser import Quantiser
from bifocal.measure.tables import markdown

#: Rows, inner length, columns: convolutions of ResNet-20 on 16 pictures of 32×32, layers of the transformer.
PRODUCTS = {
    "ResNet-20, 16 channels": (16 * 32 * 32, 9 * 16, 16),
    "ResNet-20, 32 channels": (16 * 16 * 16, 9 * 32, 32),
    "ResNet-20, 64 channels": (16 * 8 * 8, 9 * 64, 64),
    "ViT, queries, keys, values": (16 * 65, 96, 288),
    "ViT, first of the MLP": (16 * 65, 96, 384),
    "square, 1024": (1024, 1024, 1024),
}
MAPS = {"16 channels, 32×32": (16, 16, 32, 32), "64 channels, 8×8": (16, 64, 8, 8)}
TOKENS = {"65 tokens of 96": (16, 65, 96)}
Call = Callable[[], Any]


def medians(calls: dict[str, Call], repeats: int) -> dict[str, float]:
    """Median processor seconds of each call, taking turns, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            begun = time.process_time_ns()
            call()
            if turn:
                seconds[name].append((time.process_time_ns() - begun) / 1e9)
    return {name: statistics.median(values) for name, values in seconds.items()}


def low_bit(x: Tensor, w: Tensor, bits: int, groups: int) -> Tensor:
    """A forward product with everything charged: both operands quantised, the first one shifted."""
    a, b = Quantiser(bits, groups)(x, (1,)), Quantiser(bits)(w, ())
    y = matrix_product(a.shifted.to(torch.int8), b.integers.to(torch.int8))
    return y * (a.unit * b.unit)


def product_calls(m: int, k: int, n: int) -> dict[str, Call]:
    """Alternatives for ``[m, k] @ [k, n]``."""
    torch.manual_seed(0)
    x, w = torch.randn(m, k), torch.randn(k, n)
    x16, w16 = x.bfloat16(), w.bfloat16()
    x8, w8 = (torch.randint(-127, 128, shape, dtype=torch.int8) for shape in ((m, k), (k, n)))
    return {
        "float32": lambda: x @ w,
        "bfloat16": lambda: x16 @ w16,
        "int8 product": lambda: matrix_product(x8, w8),
        "int8 per tensor": lambda: low_bit(x, w, 8, 1),
        "4 bits, 4 groups": lambda: low_bit(x, w, 4, 4),
    }


def norm_calls(shape: tuple[int, ...]) -> dict[str, Call]:
    """Forward and backward of norms on ``shape``: batch norm of maps, layer norm of tokens."""
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    g = torch.randn(shape)
    made: dict[str, nn.Module]
    settings = {"L1, compiled": NormSettings(fused=True), "L1": NormSettings(power=1)}
    settings["L2"] = NormSettings(power=2)
    if len(shape) == 4:
        made = {"torch": nn.BatchNorm2d(shape[1])}
        made |= {name: LowBitBatchNorm2d(shape[1], found) for name, found in settings.items()}
    else:
        made = {"torch": nn.LayerNorm(shape[-1])}
        made |= {name: LowBitLayerNorm(shape[-1:], found) for name, found in settings.items()}
    return {name: lambda norm=norm: norm(x).backward(g) for name, norm in made.items()}  # type: ignore[misc]


def table(found: dict[str, dict[str, float]]) -> str:
    """Times of each row over that of its first alternative."""
    names = list(next(iter(found.values())))
    rows = []
    for shape, seconds in found.items():
        base = seconds[names[0]]
        shown = [f"{1e3 * base:.2f} ms", *(f"{seconds[name] / base:.2f}" for name in names[1:])]
        rows.append([shape, *shown])
    return markdown(["shape", *names], rows)


def main() -> None:
    """Measure products and norms."""
    parser = reporting.parser(__doc__ or "")
    parser.add_argument("--repeats", type=int, default=30, help="turns of each (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    products = {k: medians(product_calls(*shape), given.repeats) for k, shape in PRODUCTS.items()}
    norms = {k: medians(norm_calls(s), given.repeats) for k, s in (MAPS | TOKENS).items()}
    text = (
        f"One thread, {reporting.machine()}; medians of {given.repeats}; ratios to the first column.\n\n"
        f"{table(products)}\n\nNorms, forward and backward:\n\n{table(norms)}"
    )
    reporting.publish(given, "lowbit-kernels", text, {"products": products, "norms": norms}, file="lowbit")


if __name__ == "__main__":
    reporting.run(main)
