"""The methods that HeatViT is compared with, and the count of multiply-adds that the comparison rests on."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.cost import count
from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.selector import TokenSelector
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from studies.heatvit.other_methods import BitsThreshold, FixedConfig, FixedPruning, MergedViT, merge_tokens
from studies.heatvit.token_cost import selector_mac, transformer_mac


def backbone() -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(
        nn.Conv2d(3, 24, 4, 4), VitConfig(dim=24, depth=4, heads=3, grid=4, classes=5)
    ).eval()
    for p in vit.parameters():
        p.data += 0.15 * torch.randn_like(p)
    return vit


X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
BITS = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(2)) * 90


@pytest.mark.parametrize("by", ["random", "attention", "bits"])
@pytest.mark.parametrize("package", [False, True])
@torch.no_grad()
def test_fixed_numbers_are_kept(by: str, package: bool) -> None:
    made = FixedPruning(backbone(), FixedConfig((1, 2, 3), (10, 6, 3), by, package))(X, BITS)
    assert [k.sum(1).tolist() for k in made.keep] == [[10.0] * 3, [6.0] * 3, [3.0] * 3]
    assert [int(c[0]) for c in made.counts] == [11 + package, 7 + package, 4 + package]
    for early, late in zip(made.keep, made.keep[1:], strict=False):
        assert (late <= early).all()


@pytest.mark.parametrize("by", ["random", "attention", "bits"])
@torch.no_grad()
def test_keeping_all_is_the_dense_model(by: str) -> None:
    vit = backbone()
    made = FixedPruning(vit, FixedConfig((1, 3), (16, 16), by, True))(X, BITS)
    assert torch.allclose(made.logits, vit(X), atol=1e-5)
    assert torch.allclose(MergedViT(vit, (0, 0, 0, 0))(X).logits, vit(X), atol=1e-5)


@torch.no_grad()
def test_bits_choose_the_expensive_places() -> None:
    made = FixedPruning(backbone(), FixedConfig((0, 2), (8, 2), "bits"))(X, BITS)
    for row in range(3):
        dear = BITS[row].flatten().argsort(descending=True)
        assert set(made.keep[0][row].nonzero().flatten().tolist()) == set(dear[:8].tolist())
        assert set(made.keep[1][row].nonzero().flatten().tolist()) == set(dear[:2].tolist())


@torch.no_grad()
def test_attention_is_that_of_the_class_token() -> None:
    vit = backbone()
    made = FixedPruning(vit, FixedConfig((1,), (5,), "attention"))(X)
    block, x = vit.blocks[0], vit.embed(X)
    q, k, _ = block.attn.qkv(block.norm1(x)).chunk(3, -1)
    heads = [
        (q[..., 8 * i : 8 * i + 8] @ k[..., 8 * i : 8 * i + 8].mT * 8**-0.5).softmax(-1) for i in range(3)
    ]
    row = torch.stack(heads).mean(0)[:, 0, 1:]
    for b in range(3):
        assert set(made.keep[0][b].nonzero().flatten().tolist()) == set(row[b].topk(5).indices.tolist())


def test_impossible_choices_are_refused() -> None:
    for config in (FixedConfig((0,), (4,), "attention"), FixedConfig((1,), (4,), "taste")):
        with pytest.raises(ValueError, match="cannot be chosen"):
            FixedPruning(backbone(), config)


@torch.no_grad()
def test_threshold_on_bits_stands_where_a_selector_stands() -> None:
    model = HeatViT(backbone(), HeatConfig(before=(1, 3), bits=True)).eval()
    for k, bits in (("1", 30.0), ("3", 60.0)):
        model.selectors[k] = BitsThreshold(float(torch.tensor(bits).log1p()))
    made = model(X, BITS)
    assert torch.equal(made.keep[0], (BITS.flatten(1) >= 30).float())
    assert torch.equal(made.keep[1], (BITS.flatten(1) >= 60).float())
    assert torch.allclose(made.logits, model.run(X, BITS, masked=True, noise=0.0).logits, atol=2e-5)


@torch.no_grad()
def test_merging_keeps_the_weighted_sum() -> None:
    torch.manual_seed(4)
    x, size, metric = torch.randn(2, 9, 6), torch.randint(1, 4, (2, 9, 1)).float(), torch.randn(2, 9, 6)
    merged, sizes = merge_tokens(x, size, metric, 3)
    assert merged.shape == (2, 6, 6) and torch.allclose(sizes.sum(1), size.sum(1))
    assert torch.allclose((merged * sizes).sum(1), (x * size).sum(1), atol=1e-5)
    assert torch.equal(merged[:, 0], x[:, 0]), "the class token is left alone"
    assert merge_tokens(x, size, metric, 99)[0].shape[1] == 5


@torch.no_grad()
def test_equal_tokens_merge_first() -> None:
    x = torch.eye(6)[None]
    x[0, 4] = x[0, 3]  # source 4, target 3
    merged, size = merge_tokens(x, torch.ones(1, 6, 1), x, 1)
    assert size.flatten().tolist().count(2.0) == 1
    assert torch.equal(merged[0, size.flatten() == 2], x[:1, 3])


@torch.no_grad()
def test_an_attention_of_merged_tokens_counts_them_as_often_as_they_were() -> None:
    vit = backbone()
    twice = vit.embed(X)[:1]
    twice[:, 3] = twice[:, 2]
    from studies.heatvit.other_methods import sized_attention

    attn = vit.blocks[0].attn
    once = torch.cat([twice[:, :3], twice[:, 4:]], 1)
    size = torch.ones_like(once[..., :1])
    size[:, 2] = 2
    assert torch.allclose(sized_attention(attn, once, size)[0][:, 0], attn(twice)[:, 0], atol=1e-5)


def mac(model: nn.Module, *inputs: Tensor) -> int:
    return round(sum(row.kmac for row in count(model, lambda: model(*inputs), 1)) * 1000)


@torch.no_grad()
def test_formulas_count_what_runs() -> None:
    vit, picture = backbone(), X[:1]
    stem = mac(vit.patch_embed, picture)
    assert mac(vit, picture) == stem + transformer_mac(vit, [17] * 4, [17] * 4)
    made = MergedViT(vit, (4, 0, 3, 1))(picture)
    moved = [int(c) for c in made.counts]
    attended = [17, *moved[:-1]]
    assert mac(MergedViT(vit, (4, 0, 3, 1)), picture) - stem - transformer_mac(vit, attended, moved) == sum(
        -(-n // 2) * (n // 2) * 24 // 3 for n, r in zip(attended, (4, 0, 3, 1), strict=True) if r
    ), "besides the formula only the matching of sources and targets"
    selector = TokenSelector(24, 3)
    assert mac(selector, torch.randn(1, 11, 24)) == selector_mac(11, 24, 3)


@torch.no_grad()
def test_realised_multiply_adds_of_a_pruned_model() -> None:
    vit = backbone()
    model = HeatViT(vit, HeatConfig(before=(1, 3))).eval()
    for selector in model.selectors.values():
        selector.judge.weight.data *= 9
        selector.judge.bias.data.zero_()
    made = model(X[:1])
    first, second = (int(c) for c in made.counts)
    counts = [17, first, first, second]
    expected = transformer_mac(vit, counts, counts) + selector_mac(16, 24, 3) + selector_mac(first - 1, 24, 3)
    assert second < 17
    assert mac(model, X[:1]) == mac(vit.patch_embed, X[:1]) + expected


def test_published_costs_of_deit() -> None:
    """DeiT-T and -S at 224×224 in GMAC (sheet 4c), dense and with 87, 44 and 31 tokens left of 196."""
    for dim, dense, pruned in ((192, 1.254, 0.571), (384, 4.60, 2.11)):
        with torch.device("meta"):
            vit = VisionTransformer(nn.Conv2d(3, dim, 16, 16), VitConfig(dim, 12, dim // 64, 4.0, 14, 1000))
        stem = 196 * 768 * dim + sum(selector_mac(n, dim, dim // 64) for n in (196, 87, 44))
        counts = [197] * 3 + [88] * 3 + [45] * 3 + [32] * 3
        assert abs((transformer_mac(vit, [197] * 12, [197] * 12) + 196 * 768 * dim) / 1e9 - dense) < 0.006
        assert abs((transformer_mac(vit, counts, counts) + stem) / 1e9 - pruned) < 0.01


def test_gradients_pass_through_every_method() -> None:
    for model in (
        FixedPruning(backbone(), FixedConfig((1, 2), (9, 4), "attention", True)),
        MergedViT(backbone(), (3, 3, 2, 2)),
    ):
        F.cross_entropy(model(X, BITS).logits, torch.arange(3)).backward()
        stem = model.backbone.patch_embed.proj.weight.grad
        assert stem is not None and torch.isfinite(stem).all() and stem.abs().sum() > 0
