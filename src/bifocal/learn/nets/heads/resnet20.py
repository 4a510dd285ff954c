"""The 20-layer residual network for small pictures (He et al., arXiv 1512.03385, section 4.2).

Three stages of three blocks with 16, 32 and 64 channels, at the full side, a half and a quarter. Ours:
strided shortcuts are 1×1 convolutions, not padding; any ``width``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3×3 convolutions, each normalised, beside a shortcut: ``[n, i, h, w]`` to ``[n, o, h/s, w/s]``."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """Pictures ``[n, 3, h, w]`` to logits ``[n, classes]``.

    >>> sum(p.numel() for p in ResNet20().parameters())
    272474
    """

    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        sizes = (width, 2 * width, 4 * width)
        blocks: list[nn.Module] = []
        inputs = width
        for outputs in sizes:
            for number in range(3):
                blocks.append(Block(inputs, outputs, 2 if number == 0 and outputs > width else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(y.mean((2, 3)))
