"""The transformer: timm's names, any stem, any size, batch independence."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.vit import Attention, VisionTransformer, VitConfig

NAMES = {
    "patch_embed.proj.weight",
    "cls_token",
    "pos_embed",
    "blocks.0.norm1.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.attn.proj.weight",
    "blocks.0.norm2.weight",
    "blocks.0.mlp.fc1.weight",
    "blocks.0.mlp.fc2.weight",
    "norm.weight",
    "head.weight",
}


def small(depth: int = 2) -> VisionTransformer:
    torch.manual_seed(0)
    config = VitConfig(dim=24, depth=depth, heads=3, grid=4, classes=5)
    model = VisionTransformer(nn.Conv2d(3, 24, 4, 4), config).eval()
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return model


def test_parameters_have_timms_names() -> None:
    assert set(small().state_dict()) >= NAMES


def test_positions_of_the_learned_size_are_the_learned_ones() -> None:
    model = small()
    x = torch.randn(1, 3, 16, 16)
    plain = model.patch_embed(x).flatten(1, 2) + model.pos_embed[:, 1:]
    assert torch.equal(model.embed(x)[:, 1:], plain)


def test_other_sizes_and_batches() -> None:
    model = small()
    x = torch.randn(3, 3, 24, 8)
    together = model(x)
    assert together.shape == (3, 5)
    assert torch.allclose(together[1:2], model(x[1:2]), atol=1e-5)


def test_attention_is_the_formula() -> None:
    torch.manual_seed(1)
    attn = Attention(12, 3)
    x = torch.randn(2, 5, 12)
    q, k, v = attn.qkv(x).chunk(3, -1)
    heads = []
    for i in range(3):
        part = slice(4 * i, 4 * i + 4)
        heads.append(F.softmax(q[..., part] @ k[..., part].mT / 2, -1) @ v[..., part])
    assert torch.allclose(attn(x), attn.proj(torch.cat(heads, -1)), atol=1e-5)


def test_heads_must_divide() -> None:
    with pytest.raises(ValueError, match="heads"):
        VisionTransformer(nn.Identity(), VitConfig(dim=10, heads=3))
