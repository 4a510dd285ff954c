"""Published accelerators on the ZCU102, as workloads: what the latency model is fitted to and judged by.

Frames a second are those of the papers' abstracts (FILM-QNN, Auto-ViT-Acc, Quasar-ViT) or of a table in a
citing paper (HeatViT). The layers are ours, from the networks' definitions at 224×224 pixels. What the papers
do not say, and we assume, stands with each point.
"""

from __future__ import annotations

from dataclasses import dataclass

from bifocal.hardware.devices.device import Device
from bifocal.hardware.devices.latency import Functions, Product, Workload, design


@dataclass(frozen=True)
class Point:
    """A published design: frames a second, whether the model was ``fitted`` to it, what is ``assumed``."""

    name: str
    fps: float
    work: Workload
    fitted: bool
    assumed: str


@dataclass(frozen=True)
class Compared:
    """A published design and the model of it; ``error`` is modelled over published, less 1."""

    point: Point
    fps: float

    @property
    def error(self) -> float:
        return self.fps / self.point.fps - 1


def compare(device: Device) -> list[Compared]:
    """All points with the model's frames a second on ``device``, each with its fastest design."""
    return [Compared(point, 1 / design(point.work, device).seconds) for point in points()]


def held_out_error(device: Device) -> str:
    """How wrong the model was on published designs that it was not fitted to, as a sentence."""
    if not device.published:
        return f"modelled; device {device.name} was never compared with a board"
    rows = [row for row in compare(device) if not row.point.fitted]
    errors = ", ".join(f"{row.error:+.0%} on {row.point.name}" for row in rows)
    return f"modelled; on published designs held out of the fit the model was off by {errors}"


def points() -> list[Point]:
    """The published designs."""
    conv, vit = "95 % of the rows in 4 bits, 5-bit activations as 8", "rows in 8 bits"
    return [
        Point("FILM-QNN ResNet-18", 214.8, _convolutions(resnet(18)), True, conv),
        Point("FILM-QNN ResNet-50", 109.1, _convolutions(resnet(50)), True, conv),
        Point(
            "FILM-QNN MobileNetV2",
            537.9,
            _convolutions(mobilenet_v2()),
            True,
            conv,
        ),
        Point(
            *("HeatViT DeiT-S", 109.0, transformer(384, 6, 4, [197] * 3 + [140] * 3 + [99] * 3 + [71] * 3)),
            *(True, f"{vit}, tokens kept 0.7, 0.49, 0.343, 150 MHz"),
        ),
        Point(
            *("Auto-ViT-Acc DeiT-B", 56.8, transformer(768, 12, 4, [197] * 12, four=0.5), False),
            "half the rows in 4 bits; the design also multiplies in LUTs, which the model does not",
        ),
        Point(
            *("Quasar-ViT, smallest", 251.6, transformer(216, 4, 3.5, [197] * 13, four=0.5, head=64), False),
            "the middle of AutoFormer's space T, half the rows in 4 bits: its size was not readable",
        ),
    ]


def transformer(
    dim: int, heads: int, mlp: float, tokens: list[int], *, four: float = 0.0, head: int = 64
) -> Workload:
    """A vision transformer whose blocks see so many ``tokens``; patches of 16×16 pixels."""

    def matrix(name: str, rows: int, inner: int, outputs: int) -> Product:
        return Product(name, rows, inner, round(four * outputs), outputs - round(four * outputs))

    products = [matrix("embed", 196, 768, dim)]
    inner, hidden = heads * head, round(mlp * dim)
    for m in tokens:
        products += [
            matrix("qkv", m, dim, 3 * inner),
            Product("scores", m, head, 0, m, heads),
            Product("values", m, m, 0, head, heads),
            matrix("proj", m, inner, dim),
            matrix("fc1", m, dim, hidden),
            matrix("fc2", m, hidden, dim),
        ]
    functions = Functions(2 * dim * sum(tokens), heads * sum(m * m for m in tokens), hidden * sum(tokens))
    return Workload((*products, matrix("head", 1, dim, 1000)), functions)


#: Convolutions: side of the output, kernel, inputs, outputs, groups.
Convolution = tuple[int, int, int, int, int]


def _convolutions(layers: list[Convolution], four: float = 0.95) -> Workload:
    products = []
    for side, kernel, inputs, outputs, groups in layers:
        # a depthwise kernel is a product of its own for each channel; channels fill the columns
        coarse = round(four * outputs)
        inner = kernel**2 * inputs // groups
        products.append(Product("conv", side**2, inner, coarse, outputs - coarse))
    return Workload(tuple(products))


def resnet(depth: int) -> list[Convolution]:
    """The convolutions of ResNet-18 or ResNet-50 (He et al., arXiv 1512.03385)."""
    made: list[Convolution] = [(112, 7, 3, 64, 1)]
    inputs = 64
    for stage, blocks in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)):
        width, side = 64 << stage, 56 >> stage
        outputs = width if depth == 18 else 4 * width
        for block in range(blocks):
            if depth == 18:
                made += [(side, 3, inputs, width, 1), (side, 3, width, width, 1)]
            else:
                before = side * (2 if stage and not block else 1)
                made += [
                    (before, 1, inputs, width, 1),
                    (side, 3, width, width, 1),
                    (side, 1, width, outputs, 1),
                ]
            if inputs != outputs:
                made.append((side, 1, inputs, outputs, 1))
            inputs = outputs
    return [*made, (1, 1, inputs, 1000, 1)]


def mobilenet_v2() -> list[Convolution]:
    """The convolutions of MobileNetV2 (Sandler et al., arXiv 1801.04381)."""
    made: list[Convolution] = [(112, 3, 3, 32, 1)]
    inputs, side = 32, 112
    for expansion, outputs, repeats, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for block in range(repeats):
            hidden = expansion * inputs
            if expansion > 1:
                made.append((side, 1, inputs, hidden, 1))
            side //= stride if block == 0 else 1
            made += [(side, 3, hidden, hidden, hidden), (side, 1, hidden, outputs, 1)]
            inputs = outputs
    return [*made, (7, 1, 320, 1280, 1), (1, 1, 1280, 1000, 1)]
