"""WeConvene's transforms, stage by stage (arXiv 2407.09983), how the small ones start, and its bands of y."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bifocal.learn.nets.transforms.lifting import (
    Pyramid,
    Wavelet,
    decompose,
    recompose,
    split,
    synthesis_gains,
)
from bifocal.learn.nets.transforms.packets import (
    NOISE,
    PIXELS,
    Labels,
    halve,
    start_block,
    start_down,
    start_same,
    start_up,
)
from bifocal.learn.nets.transforms.residual import Bands, Residual, ResidualDown, ResidualUp, Subpixel


def analysis(
    widths: tuple[int, ...], latent: int, *, blocks: int, first_stride: int, bands: Bands | None
) -> nn.Sequential:
    """Pixels ``[b, 3, H, W]`` to ``[b, latent, H/s, W/s]``, ``s = first_stride·2^len(widths)``.

    A first block, of stride 1 as published or 2, to ``widths[0]`` channels; then for every further width
    ``blocks`` residual blocks and a halving one, which has wavelet ``bands`` if they are given; at the end
    residual blocks and a strided convolution.
    """
    square = first_stride == 2
    stages: list[nn.Module] = [ResidualDown(3, widths[0], stride=first_stride, square=square)]
    for width, following in zip(widths, (*widths[1:], 0), strict=True):
        stages += [Residual(width) for _ in range(blocks)]
        stages.append(
            ResidualDown(width, following, bands=bands, square=square)
            if following
            else nn.Conv2d(width, latent, 3, 2, 1)
        )
    return nn.Sequential(*stages)


def synthesis(latent: int, widths: tuple[int, ...], *, blocks: int, bands: Bands | None) -> nn.Sequential:
    """``[b, latent, h, w]`` to pixels ``[b, 3, s·h, s·w]``, ``s = 2^len(widths)``: the mirror of the other.

    A first block without enlargement, doubling ones with ``bands``, at the end a subpixel convolution.
    """
    stages: list[nn.Module] = [ResidualUp(latent, widths[0], factor=1)]
    for width, following in zip(widths, (*widths[1:], 0), strict=True):
        stages += [Residual(width) for _ in range(blocks)]
        stages.append(ResidualUp(width, following, bands=bands) if following else Subpixel(width, 3))
    return nn.Sequential(*stages)


def start_as_packets(analysis: nn.Sequential, synthesis: nn.Sequential) -> None:
    """Let both transforms start as wavelet packets along their skips, and everything beside them small.

    For an analysis whose first stride is 2. Ours, see ``learn/nets/transforms/packets.py``: it is for short
    trainings.
    """
    labels: list[Labels] = [PIXELS]
    for layer in analysis:
        if isinstance(layer, ResidualDown):
            labels.append(start_down(layer.skip, labels[-1]))
        elif isinstance(layer, nn.Conv2d):
            labels.append(start_down(layer, labels[-1]))
    latent = labels.pop()
    first, *rest = (layer for layer in synthesis if isinstance(layer, ResidualUp))
    coarse = halve(labels[-1], first.first.conv.out_channels)
    start_same(first.skip.conv, latent, coarse)
    for up in (*(layer.skip for layer in rest), synthesis[-1]):
        assert isinstance(up, Subpixel)
        start_up(up, coarse, finer := labels.pop())
        coarse = finer
    for layer in (*analysis, *synthesis):
        if isinstance(layer, Residual):
            start_block(layer)
        elif isinstance(layer, ResidualDown | ResidualUp):
            with torch.no_grad():
                for conv in (m for m in layer.middle.modules() if isinstance(m, nn.Conv2d)):
                    conv.weight *= NOISE


def start_across_channels(analysis: nn.Sequential, synthesis: nn.Sequential, wavelet: Wavelet) -> None:
    """After :func:`start_as_packets`: let the packets stand where ``wavelet`` splits the latent's channels.

    The first packets, not mixtures of two, are then its low half.
    """
    last, first = analysis[-1], synthesis[0]
    assert isinstance(last, nn.Conv2d) and isinstance(first, ResidualUp)
    n = last.out_channels
    apart = torch.cat(split(torch.eye(n), 0, wavelet))  # packets as columns
    together = torch.linalg.inv(apart)
    with torch.no_grad():
        last.weight.copy_(torch.einsum("oi,ijkl->ojkl", together, last.weight))
        skip = first.skip.conv
        skip.weight.copy_(torch.einsum("oikl,ij->ojkl", skip.weight, apart))


def to_bands(x: Tensor, wavelet: Wavelet, slices: int) -> Tensor:
    """``[b, c, h, w]`` to ``[b, 4c, h/2, w/2]``: LL, then slice by slice LH | HL | HH of its channels."""
    bands = decompose(x, wavelet)
    return torch.cat([bands.low, interleaved(torch.cat(bands.high[0], 1), slices)], 1)


def interleaved(high: Tensor, slices: int) -> Tensor:
    """LH | HL | HH ``[b, 3c, …]``, to slices that hold the three of the same channels each."""
    return high.unflatten(1, (3, slices, -1)).transpose(1, 2).flatten(1, 3)


def from_bands(bands: Tensor, wavelet: Wavelet, slices: int) -> Tensor:
    """Inverse of :func:`to_bands`.

    >>> from bifocal.learn.nets.transforms.lifting import HAAR
    >>> x = torch.randn(1, 4, 6, 8)
    >>> torch.allclose(from_bands(to_bands(x, HAAR, 2), HAAR, 2), x, atol=1e-6)
    True
    """
    c = bands.shape[1] // 4
    high = bands[:, c:].unflatten(1, (slices, 3, c // slices)).transpose(1, 2).flatten(1, 3)
    lh, hl, hh = high.chunk(3, 1)
    return recompose(Pyramid(bands[:, :c], ((lh, hl, hh),)), wavelet)


def band_gains(wavelet: Wavelet, channels: int, slices: int, *, axes: int = 2) -> Tensor:
    """Logarithm of what an error in each channel of y counts: ``[2^axes·channels]``, in the order of y.

    Bands that count more are quantised more finely: a codec's gains start with these. All 0 for Haar.
    """
    low, high = synthesis_gains(wavelet, axes=axes)
    gains = torch.tensor(high).log().repeat_interleave(channels)
    gains = interleaved(gains[None, :, None, None], slices)[0, :, 0, 0] if axes == 2 else gains
    return torch.cat([torch.tensor(low).log().expand(channels), gains])
