"""FEDS: a large teacher with window attention and a lean student of the same design, for distillation.

FEDS (arXiv 2503.06399). There is no public code and we know the abstract only: the teacher is the base with
Swin-V2 attention, more residual blocks and more latent channels; the student is light; it learns in three
phases (`learn/training/tasks/distil.py`). Shapes are our reconstruction. Teacher and student are one class
and differ in numbers, so that a stage of the one stands at the resolution of the same stage of the other:
:attr:`FedsConfig.taps` names their outputs.

    pixels ─ stage 0: ↓, blocks ─ stage 1: ↓, blocks ─ stage 2: ↓, blocks, attention ─ 1×1 ─► y [b,c,H/8,·]
             [b,·,H/2,·]          H/4                  H/8
    groups: slices of y by channels, each given those before it (ChARM, arXiv 2007.08978)
    ŷ ─ stage 0: 1×1, blocks, attention ─ stage 1: ↑, blocks ─ stage 2: ↑, blocks ─ ↑ ─► pixels
        H/8                               H/4                  H/2

The drawing is of the small ones. At a paper's size there is a stage more, with blocks and attention at H/16,
and y is there; the small ones stay an octave finer because few channels at H/16 hold too little of a picture.

A teacher is never packed: its weights are there to be learned from.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.transforms.packets import (
    PIXELS,
    Labels,
    halve,
    start_block,
    start_down,
    start_same,
    start_up,
)
from bifocal.learn.nets.transforms.residual import Residual, Subpixel
from bifocal.learn.nets.transforms.swin import SwinBlock
from bifocal.stream.plan import Group, Plan


@dataclass(frozen=True)
class FedsConfig:
    """Sizes. The defaults are the small student; ``recipes/feds-teacher.toml`` has its teacher's.

    ``width_2`` to ``width_16`` channels at 1/2 to 1/16 of the picture's size and ``blocks_…`` residual
    blocks there; y is at 1/8 if ``width_16`` is 0. ``attention`` blocks of Swin-V2 at 1/8 and as many at
    1/16, every other one shifted by half a ``window``, in heads of ``head`` channels. ``latent`` channels of
    y in ``slices`` groups.
    """

    width_2: int = 16
    width_4: int = 40
    width_8: int = 64
    width_16: int = 0
    blocks_2: int = 1
    blocks_4: int = 2
    blocks_8: int = 1
    blocks_16: int = 0
    attention: int = 0
    window: int = 8
    head: int = 16
    latent: int = 60
    slices: int = 5
    hyper: int = 32
    features: int = 40
    context: int = 52
    anchors: int = 12
    lambda_min: float = 0.0012
    lambda_max: float = 0.12

    @property
    def plan(self) -> Plan:
        ends = [self.latent * k // self.slices for k in range(self.slices + 1)]
        groups = tuple(Group(a, b, 1, 0) for a, b in zip(ends, ends[1:], strict=False))
        return Plan(self.latent, self.hyper, groups, y_stride=2 ** len(self.widths), skip=5)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(w for w in (self.width_2, self.width_4, self.width_8, self.width_16) if w)

    @property
    def taps(self) -> tuple[str, ...]:
        """Modules where student and teacher are compared: every stage of both transforms."""
        stages = range(len(self.widths))
        return tuple(f"{part}.{stage}" for part in ("analysis", "synthesis") for stage in stages)


#: Reconstructions at a paper's size: the student has 68 % fewer parameters (the abstract says 63 %).
PAPER_STUDENT = FedsConfig(
    width_2=128,
    width_4=128,
    width_8=128,
    width_16=128,
    blocks_2=1,
    blocks_4=2,
    blocks_8=2,
    blocks_16=1,
    latent=192,
    hyper=192,
    features=192,
    context=224,
)
PAPER_TEACHER = FedsConfig(
    width_2=192,
    width_4=192,
    width_8=192,
    width_16=192,
    blocks_2=3,
    blocks_4=3,
    blocks_8=3,
    blocks_16=1,
    attention=2,
    head=32,
    latent=320,
    slices=10,
    hyper=192,
    features=320,
    context=224,
)


class Feds(Codec):
    """Teacher or student, by its numbers."""

    config: FedsConfig

    def __init__(self, config: FedsConfig = FedsConfig()) -> None:
        super().__init__(config)
        c = config
        ends = enumerate(zip((3, *c.widths), c.widths, strict=False))
        self.analysis = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), *_blocks(c, level)) for level, (i, o) in ends),
            nn.Conv2d(c.widths[-1], c.latent, 1),
        )
        *levels, lowest = range(len(c.widths))
        self.synthesis = nn.Sequential(
            nn.Sequential(nn.Conv2d(c.latent, c.widths[-1], 1), *_blocks(c, lowest)),
            *(
                nn.Sequential(Subpixel(c.widths[level + 1], c.widths[level]), *_blocks(c, level))
                for level in reversed(levels)
            ),
            Subpixel(c.width_2, 3),
        )
        _start(self.analysis, self.synthesis)

    def unpackable(self) -> str:
        if not self.config.attention:
            return ""
        return (
            "A teacher is not packed: its attention has no runtime. Distil a student from it, and pack that."
        )

    def analyse(self, pixels: Tensor) -> Tensor:
        y: Tensor = self.analysis((pixels - 127.5) / PIXEL_UNIT)
        return y

    def synthesise(self, y: Tensor) -> Tensor:
        x: Tensor = self.synthesis(y)
        return x * PIXEL_UNIT + 127.5


def _blocks(c: FedsConfig, level: int) -> list[nn.Module]:
    """Residual blocks at 1/2 (level 0) to 1/16, and attention behind them at the two lowest resolutions."""
    width = c.widths[level]
    plain = (c.blocks_2, c.blocks_4, c.blocks_8, c.blocks_16)[level]
    made: list[nn.Module] = [Residual(width) for _ in range(plain)]
    for k in range(c.attention if level >= 2 else 0):
        shift = c.window // 2 * (k % 2)
        made.append(SwinBlock(width, heads=width // c.head, window=c.window, shift=shift, bias_hidden=64))
    return made


def _start(analysis: nn.Sequential, synthesis: nn.Sequential) -> None:
    """Start both transforms as wavelet packets (ours: see ``learn/nets/transforms/packets.py``)."""
    labels: list[Labels] = [PIXELS]
    for layer in (m for m in analysis.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)):
        labels.append(start_down(layer, labels[-1]))
    to_y, from_y = analysis[-1], synthesis[0][0]  # type: ignore[index]
    y_labels = halve(labels[-2], to_y.out_channels)  # type: ignore[arg-type]
    start_same(to_y, labels[-1], y_labels)  # type: ignore[arg-type]
    start_same(from_y, y_labels, labels[-1])
    for up in (m for m in synthesis.modules() if isinstance(m, Subpixel)):
        coarse = labels.pop()
        start_up(up, coarse, labels[-1])
    for block in (*analysis.modules(), *synthesis.modules()):
        if isinstance(block, Residual):
            start_block(block)
