"""EfficientNet-Lite0, a classifier of pixels: a teacher for heads, never shipped.

Tan and Le's EfficientNet (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as TensorFlow's
"lite" models have it: inverted residual blocks (arXiv 1801.04381), convolutions padded as TensorFlow pads.
The names of its parameters are those of the weights that ``learn/training/classify/teacher.py`` loads.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

#: Of each stage: blocks, kernel, stride of the first, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES, CLASSES = 32, 1280, 1000


class SameConv(nn.Conv2d):
    """A convolution without bias, to ``⌈n / stride⌉`` positions a side, padded as TensorFlow does it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        sides = zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        more = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in sides]
        (top, bottom), (left, right) = ((m // 2, m - m // 2) for m in more)
        return super().forward(F.pad(x, (left, right, top, bottom)) if any(more) else x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class InvertedResidual(nn.Module):
    """1×1 to ``expansion`` times the channels, a kernel for each channel, 1×1 back; with a shortcut where
    the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(inputs, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = SameConv(inner, inner, kernel, stride, inner), _norm(inner)
        self._project_conv, self._bn2 = SameConv(inner, outputs, 1), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """Pixels ``[b, 3, h, w]`` in 0..255 to pooled features ``[b, 1280]``, of which ``_fc`` makes logits.

    >>> import torch
    >>> EfficientNetLite0().eval()(torch.zeros(2, 3, 64, 96)).shape
    torch.Size([2, 1280])
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2), _norm(STEM)
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, outputs in STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(inputs, outputs, kernel, 1 if number else stride, expansion))
                inputs = outputs
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(inputs, FEATURES, 1), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem((pixels - 127) / 128)))
        x = F.relu6(self._bn1(self._conv_head(self._blocks(x))))
        return x.mean((2, 3))
