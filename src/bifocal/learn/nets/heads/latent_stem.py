"""Classifiers on latents: residual convolutions, and either more of them at half the size or a transformer.

Both begin with a residual network (He et al., arXiv 1512.03385) at the resolution of the latents:

    y [b,c,h,w] ─ scale ─┬─ low channels: 3×3 ──(+)─ norm, ReLU ─ residual blocks ─ 3×3 ─► [b,d,h,w]
                         └─ the others: 1×1 ────┘

:class:`LatentResNet` goes on at half the size, and its last map says for each position how much it speaks
for every class; logits are the mean, so that one can look at them (class activation maps: Zhou et al., arXiv
1512.04150). :func:`latent_classifier` goes on with a transformer, one token a position, which can be pruned;
a transformer alone learns little from ten thousand pictures, and convolutions before it supply what it would
have to learn (Xiao et al., arXiv 2106.14881). At equal work the residual network learns faster here and ends
better (docs/heads.md). All sizes are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from bifocal.learn.nets.parameters import ParameterGroup, grouped
from bifocal.learn.nets.transforms.blocks import conv3


@dataclass(frozen=True)
class LatentStemConfig:
    """Sizes: ``channels`` of y that are read, the first ``low`` of them with 3×3 kernels; ``width`` and
    ``blocks`` at the resolution of y."""

    channels: int = 64
    low: int = 64
    width: int = 128
    blocks: int = 2

    #: Whether training may start from the convolutions of another head.
    takes_start: ClassVar[bool] = False

    @property
    def most_selectors(self) -> int:
        """How many token selectors the network has room for."""
        return 0


@dataclass(frozen=True)
class LatentResNetConfig(LatentStemConfig):
    """Sizes of the residual network: ``deep_width`` and ``deep_blocks`` at half the resolution.

    It has logits of ``classes``, an embedding of so many numbers, or both; 0 is none.
    """

    deep_width: int = 192
    deep_blocks: int = 2
    classes: int = 10
    embedding: int = 0

    takes_start: ClassVar[bool] = True

    def network(
        self, mean: Tensor, std: Tensor, *, channels: int, low: int, classes: int, grid: int
    ) -> nn.Module:
        """The network at these sizes; it has no positions, so ``grid`` changes nothing."""
        return LatentResNet(replace(self, channels=channels, low=low, classes=classes), mean, std)


@dataclass(frozen=True)
class LatentClassifierConfig(LatentStemConfig):
    """Sizes of the transformer: after the stem as in :class:`~bifocal.learn.nets.heads.vit.VitConfig`."""

    dim: int = 192
    depth: int = 3
    heads: int = 6
    mlp_ratio: float = 2.0
    grid: int = 8
    classes: int = 10

    @property
    def most_selectors(self) -> int:
        """One before each block but the first."""
        return self.depth - 1

    def network(
        self, mean: Tensor, std: Tensor, *, channels: int, low: int, classes: int, grid: int
    ) -> nn.Module:
        """The network at these sizes, with positions for ``grid × grid`` tokens."""
        sized = replace(self, channels=channels, low=low, classes=classes, grid=grid)
        return latent_classifier(sized, mean, std)


class NormBlock(nn.Module):
    """``relu(x + norm(conv3(relu(norm(conv3(x))))))`` on ``[b, c, h, w]``; at the start the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.second, self.second_norm = _conv(channels, channels), nn.BatchNorm2d(channels)
        nn.init.zeros_(self.second_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first_norm(self.first(x)).relu()
        return (x + self.second_norm(self.second(y))).relu()


class LatentStem(nn.Module):
    """y ``[b, c, h, w]`` after inverse gains to a map ``[b, outputs, h, w]``, or of half the size.

    ``mean`` and ``std`` ``[c]`` are those of the channels over the training pictures; ``stride`` that of the
    last convolution.
    """

    def __init__(
        self, config: LatentStemConfig, mean: Tensor, std: Tensor, outputs: int, stride: int = 1
    ) -> None:
        super().__init__()
        c = config
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1).clamp_min(1e-3))
        self.low = min(c.low, c.channels)
        self.first, self.norm = _conv(self.low, c.width), nn.BatchNorm2d(c.width)
        self.others = (
            nn.Conv2d(c.channels - self.low, c.width, 1, bias=False) if c.channels > self.low else None
        )
        self.blocks = nn.Sequential(*[NormBlock(c.width) for _ in range(c.blocks)])
        self.last = conv3(c.width, outputs, stride=stride)

    mean: Tensor
    std: Tensor

    def forward(self, y: Tensor) -> Tensor:
        x = (y - self.mean) / self.std
        first = self.first(x[:, : self.low])
        if self.others is not None:
            first = first + self.others(x[:, self.low :])
        return self.last(self.blocks(self.norm(first).relu()))


class LatentResNet(nn.Module):
    """The residual network. It has no positions and takes maps of any size.

    >>> import torch
    >>> model = LatentResNet(LatentResNetConfig(classes=3), torch.zeros(64), torch.ones(64)).eval()
    >>> model(torch.zeros(2, 64, 5, 9)).shape, model.evidence(torch.zeros(2, 64, 5, 9)).shape
    (torch.Size([2, 3]), torch.Size([2, 3, 3, 5]))
    """

    def __init__(self, config: LatentResNetConfig, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        c = self.config = config
        self.stem = LatentStem(c, mean, std, c.deep_width, stride=2)
        self.norm = nn.BatchNorm2d(c.deep_width)
        self.blocks = nn.Sequential(*[NormBlock(c.deep_width) for _ in range(c.deep_blocks)])
        if c.classes:
            self.head = nn.Linear(c.deep_width, c.classes)
            nn.init.zeros_(self.head.weight)
        if c.embedding:
            self.embedding = nn.Linear(c.deep_width, c.embedding)

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return grouped(self, plain=[part for part in self.children() if isinstance(part, nn.Linear)])

    def _trunk(self, y: Tensor) -> Tensor:
        return self.blocks(self.norm(self.stem(y)).relu())

    def _evidence(self, x: Tensor) -> Tensor:
        said: Tensor = self.head(x.permute(0, 2, 3, 1))
        return said.permute(0, 3, 1, 2)

    def evidence(self, y: Tensor) -> Tensor:
        """What each position says of every class, ``[b, classes, ⌈h/2⌉, ⌈w/2⌉]``, of y ``[b, c, h, w]``."""
        return self._evidence(self._trunk(y))

    def all_answers(self, y: Tensor) -> dict[str, Tensor]:
        """Logits, evidence and embedding by these names, as far as there are any."""
        x, found = self._trunk(y), {}
        if self.config.classes:
            evidence = self._evidence(x)
            found = {"logits": evidence.mean((2, 3)), "evidence": evidence}
        return {**found, "embedding": self.embedding(x.mean((2, 3)))} if self.config.embedding else found

    def answers(self, y: Tensor) -> tuple[Tensor | None, Tensor]:
        """Logits ``[b, classes]``, None without classes; the embedding ``[b, numbers]``, of any length."""
        x = self._trunk(y)
        embedding: Tensor = self.embedding(x.mean((2, 3)))
        return (self._evidence(x).mean((2, 3)) if self.config.classes else None), embedding

    def forward(self, y: Tensor) -> Tensor:
        """Logits ``[b, classes]``: the mean of the evidence."""
        return self.evidence(y).mean((2, 3))


def latent_classifier(config: LatentClassifierConfig, mean: Tensor, std: Tensor) -> VisionTransformer:
    """The transformer: y ``[b, channels, h, w]`` of any size to logits ``[b, classes]``.

    >>> import torch
    >>> model = latent_classifier(LatentClassifierConfig(classes=3), torch.zeros(64), torch.ones(64)).eval()
    >>> model(torch.zeros(2, 64, 5, 9)).shape
    torch.Size([2, 3])
    """
    c = config
    trunk = VitConfig(c.dim, c.depth, c.heads, c.mlp_ratio, c.grid, c.classes)
    return VisionTransformer(LatentStem(c, mean, std, c.dim), trunk)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)  # a norm follows, and has the bias
