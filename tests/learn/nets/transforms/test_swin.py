"""Swin-V2 window attention, against its formulas written out and against the paper's rolled form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bifocal.learn.nets.transforms.swin import SwinBlock, WindowAttention, log_offsets


def rolled(block: SwinBlock, x: Tensor) -> Tensor:
    """Attention of the paper's form: roll the map round, mask what came round. ``[b, h, w, c]``."""
    size, shift = block.window, block.shift
    b, h, w, c = x.shape
    region = torch.zeros(h, w)
    for i, rows in enumerate((slice(0, -size), slice(-size, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(0, -size), slice(-size, -shift), slice(-shift, None))):
            region[rows, columns] = 3 * i + j
    x = torch.roll(x, (-shift, -shift), (1, 2))
    out = torch.empty_like(x)
    for i in range(0, h, size):
        for j in range(0, w, size):
            here = (slice(i, i + size), slice(j, j + size))
            tokens, label = x[0][here].reshape(-1, c), region[here].reshape(-1)
            for k in label.unique():
                whole = block.attention(tokens[None, None], (label == k)[None])[0, 0]
                chosen = (label == k).nonzero()[:, 0]
                flat = out[0][here].reshape(-1, c).clone()
                flat[chosen] = whole[chosen]
                out[0][here] = flat.reshape(size, size, c)
    return torch.roll(out, (shift, shift), (1, 2))


def test_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    net = WindowAttention(8, 2, 3, bias_hidden=16).double()
    x = torch.randn(1, 1, 9, 8, dtype=torch.float64)
    seen = torch.ones(1, 9, dtype=torch.bool)
    seen[0, 7:] = False
    heads = []
    for head in range(2):
        own = slice(4 * head, 4 * head + 4)
        q, k, v = (part(x)[0, 0, :, own] for part in (net.query, net.key, net.value))
        cosine = F.cosine_similarity(q[:, None], k[None], dim=-1)
        bias = 16 * torch.sigmoid(net.bias(log_offsets(3).double())[..., head])
        scores = cosine * net.log_temperature[head].exp() + bias.float()
        heads.append(scores[:, :7].softmax(-1) @ v[:7])
    expected = net.out(torch.cat(heads, 1))
    assert torch.allclose(net(x, seen)[0, 0], expected, atol=1e-5)


def test_offsets_are_log_spaced_and_odd() -> None:
    offsets = log_offsets(8)
    assert torch.equal(offsets, -offsets.transpose(0, 1))
    assert offsets[0, 1].tolist() == pytest.approx([0, -math.log2(1 + 8 / 7) / 3])
    assert float(offsets.max()) == pytest.approx(math.log2(9) / 3)


def test_temperature_is_limited() -> None:
    net = WindowAttention(4, 1, 2)
    x, seen = torch.randn(1, 1, 4, 4), torch.ones(1, 4, dtype=torch.bool)
    net.log_temperature.data.fill_(math.log(100.0))
    limit = net(x, seen)
    net.log_temperature.data.fill_(9.0)
    assert torch.equal(net(x, seen), limit)


def test_a_shift_by_padding_is_the_rolled_form() -> None:
    torch.manual_seed(1)
    block = SwinBlock(4, heads=2, window=4, shift=2)
    x = torch.randn(1, 8, 12, 4)
    assert torch.allclose(block._attend(x, 8, 12), rolled(block, x), atol=1e-5)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 11), (8, 4), (9, 6)])
def test_any_size_and_padding_is_not_seen(size: tuple[int, int], shift: int) -> None:
    torch.manual_seed(2)
    block = SwinBlock(4, heads=1, window=4, shift=shift)
    x = torch.randn(2, 4, *size)
    y = block(x)
    assert y.shape == x.shape and bool(y.isfinite().all())
    # a window cut by a border is a window whose other tokens are hidden: what stands there does not matter
    tokens, seen = torch.randn(1, 1, 16, 4), torch.zeros(1, 16, dtype=torch.bool)
    seen[0, :5] = True
    other = tokens.clone()
    other[:, :, 5:] = 7.0
    assert torch.allclose(block.attention(tokens, seen)[:, :, :5], block.attention(other, seen)[:, :, :5])


def test_it_learns_under_autocast() -> None:
    torch.manual_seed(3)
    block = SwinBlock(8, heads=2, window=4, shift=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = block(torch.randn(1, 8, 6, 6)).float().square().mean()
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in block.parameters())


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="heads"):
        SwinBlock(6, heads=4)
    with pytest.raises(ValueError, match="shifted"):
        SwinBlock(8, heads=2, window=4, shift=4)
