"""Pruned transformers: the drop-in, masked equal to gathered, and every known trap of the published codes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT, Pruned
from bifocal.learn.nets.heads.polynomial import Polynomials
from bifocal.learn.nets.heads.selector import TokenSelector, decide, pack
from bifocal.learn.nets.heads.timm_names import attend, run_block
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig

BITS = torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(2)) * 90


def shaken(model: nn.Module, size: float = 0.15) -> nn.Module:
    """Random weights without symmetry, so that a transposed matrix cannot go unseen."""
    for p in model.parameters():
        p.data += size * torch.randn_like(p)
    return model


def balance(model: HeatViT, x: Tensor, bits: Tensor | None = None, share: float = 0.6) -> None:
    """Bias every selector, first to last, so that about ``share`` of the tokens it sees stay."""
    for stage, selector in enumerate(model.selectors.values()):
        low, high = -8.0, 8.0
        for _ in range(6):
            selector.judge.bias.data[..., 0] = (low + high) / 2
            with torch.no_grad():
                keep = model.run(x, bits, masked=True, noise=0.0).keep
            before = float(keep[stage - 1].sum()) if stage else keep[0].numel()
            low, high = (
                ((low + high) / 2, high)
                if float(keep[stage].sum()) < share * before
                else (low, (low + high) / 2)
            )


def pruned_vit(*, before: tuple[int, ...] = (1, 2, 3), seed: int = 0, **options: Any) -> HeatViT:
    torch.manual_seed(seed)
    vit = VisionTransformer(nn.Conv2d(3, 24, 4, 4), VitConfig(dim=24, depth=4, heads=3, grid=4, classes=5))
    model = HeatViT(shaken(vit), HeatConfig(before=before, **options)).eval()
    shaken(model.selectors, 0.7)
    balance(model, pictures(), BITS if options.get("bits") else None)
    return model


def pictures(b: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(b, 3, 24, 24, generator=torch.Generator().manual_seed(seed)) * 2


def reference(model: HeatViT, x: Tensor, bits: Tensor | None) -> tuple[Tensor, list[int]]:
    """What `docs/heatvit.md` tells a runtime to do between segments, in NumPy, for one picture."""
    parts = model.segments()
    packaged, counts = False, []
    tokens: Any = x
    for k, part in enumerate(parts):
        arguments = (tokens, bits) if k == 0 and bits is not None else (tokens,)
        with torch.no_grad():
            made = part(*arguments)
        if part is parts[-1]:
            return made, counts
        rows, s = made[0][0].numpy(), made[1][0].numpy()
        stay = s >= 0.5
        stay[0] = True
        if packaged:
            stay[-1] = False
        kept = rows[stay]
        if model.config.package and not stay.all():
            w = s[~stay] if s[~stay].sum() >= 1e-6 else np.ones((~stay).sum(), np.float32)
            kept = np.concatenate([kept, (w @ rows[~stay] / w.sum())[None]])
            packaged = True
        counts.append(len(kept))
        tokens = torch.from_numpy(kept[None].astype(np.float32))
    raise AssertionError


OPTIONS: list[dict[str, Any]] = [
    {},
    {"package": False},
    {"shared": True},
    {"bits": True},
    {"polynomials": Polynomials()},
    {"before": (0, 3)},
]


@pytest.mark.parametrize("options", OPTIONS)
@torch.no_grad()
def test_masked_equals_gathered_equals_segments(options: dict[str, Any]) -> None:
    model = pruned_vit(**options)
    x = pictures()
    bits = BITS if options.get("bits") else None
    masked = model.run(x, bits, masked=True, noise=0.0)
    gathered: Pruned = model(x, bits)
    assert torch.allclose(masked.logits, gathered.logits, atol=2e-5)
    for a, b in zip(masked.keep, gathered.keep, strict=True):
        assert torch.equal(a, b)
        assert 0.01 < float(a.mean()) < 0.99, "a test that prunes nothing tests nothing"
    for row in range(4):
        alone = None if bits is None else bits[row : row + 1]
        logits, counts = reference(model, x[row : row + 1], alone if alone is None else alone[:, None])
        assert torch.allclose(logits[0], gathered.logits[row], atol=2e-5)
        assert counts == [int(stage[row]) for stage in gathered.counts]


@torch.no_grad()
def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    model = pruned_vit()
    x = pictures(5)
    together = model(x)
    assert len({int(c) for c in together.counts[0]}) > 1, "counts must differ for this test"
    for row in range(5):
        alone = model(x[row : row + 1])
        assert torch.allclose(alone.logits[0], together.logits[row], atol=2e-5)
        assert [int(c[row]) for c in together.counts] == [int(c[0]) for c in alone.counts]


@torch.no_grad()
def test_inference_is_deterministic_and_training_is_not() -> None:
    model = pruned_vit()
    x = pictures()
    assert torch.equal(model(x).logits, model(x).logits)
    model.train()
    first, second = model(x), model(x)
    assert any(not torch.equal(a, b) for a, b in zip(first.keep, second.keep, strict=True))


def test_gradients_reach_the_selectors() -> None:
    for package in (True, False):
        model = pruned_vit(package=package).train()
        loss = F.cross_entropy(model(pictures()).logits, torch.arange(4))
        loss.backward()
        for selector in model.selectors.values():
            for name, p in selector.named_parameters():
                assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0, name


def test_heads_are_independent_unless_shared() -> None:
    apart, same = TokenSelector(24, 3), TokenSelector(24, 3, shared=True)
    assert apart.local.weight.shape[0] == 3 and same.local.weight.shape[0] == 1
    assert sum(p.numel() for p in same.parameters()) < sum(p.numel() for p in apart.parameters())
    shaken(apart)
    x = torch.randn(2, 7, 24)
    before = apart(x)
    apart.local.weight.data[1] += 1.0  # one head changes its mind; with shared weights all would
    assert not torch.allclose(before, apart(x))


def test_selector_is_the_formula() -> None:
    """One head at a time, plain loops, permuted and non-symmetric weights."""
    torch.manual_seed(3)
    selector = TokenSelector(24, 3)
    shaken(selector, 0.5)
    x = torch.randn(1, 6, 24)
    alive = torch.tensor([[1.0, 1, 0, 1, 0, 1]])
    total, weights = torch.zeros(6), torch.zeros(6)
    means = torch.stack([x[0, :, 8 * i : 8 * i + 8].mean(1) for i in range(3)], 1)
    a = torch.sigmoid(selector.head_out(F.gelu(selector.head_in(means))))
    for i in range(3):
        part = F.layer_norm(x[0, :, 8 * i : 8 * i + 8], (8,), eps=1e-6)
        part = part * selector.norm_weight[i, 0] + selector.norm_bias[i, 0]
        local = F.gelu(part @ selector.local.weight[i] + selector.local.bias[i, 0])
        whole = local[alive[0] == 1].mean(0)
        f = torch.cat([local, whole.expand(6, -1)], 1)
        for layer in selector.hidden:
            f = F.gelu(f @ layer.weight[i] + layer.bias[i, 0])
        t = F.softmax(f @ selector.judge.weight[i] + selector.judge.bias[i, 0], 1)[:, 0]
        total, weights = total + a[:, i] * t, weights + a[:, i]
    assert torch.allclose(selector(x, alive)[0], total / weights, atol=1e-6)


def test_scores_do_not_depend_on_dead_tokens_or_order() -> None:
    torch.manual_seed(0)
    selector = TokenSelector(24, 3)
    shaken(selector, 0.5)
    x = torch.randn(1, 6, 24)
    score = selector(x, torch.tensor([[1.0, 1, 1, 0, 1, 0]]))
    other = x.clone()
    other[:, [3, 5]] = 99.0
    again = selector(other, torch.tensor([[1.0, 1, 1, 0, 1, 0]]))
    assert torch.allclose(score[:, [0, 1, 2, 4]], again[:, [0, 1, 2, 4]], atol=1e-6)
    order = torch.tensor([4, 0, 2, 1])
    assert torch.allclose(selector(x[:, order]), score[:, order], atol=1e-6)


def test_decisions_are_exact_and_straight_through() -> None:
    score = torch.tensor([[0.1, 0.4999, 0.5, 0.9]], requires_grad=True)
    hard = decide(score, noise=0.0)
    assert hard.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    hard.sum().backward()
    assert torch.equal(score.grad, torch.ones(1, 4))
    torch.manual_seed(0)
    many = decide(torch.full((1, 20000), 0.7), noise=1.0)
    assert set(many.unique().tolist()) == {0.0, 1.0}
    assert abs(float(many.mean()) - 0.7) < 0.02  # kept as often as the score says
    surer = decide(torch.full((1, 20000), 0.7), noise=0.2)
    assert 0.97 < float(surer.mean()) < 1


def test_package_is_a_normalised_mean() -> None:
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    package, some = pack(x, torch.tensor([[0.4, 0.1, 0.9]]), torch.tensor([[1.0, 1.0, 0.0]]))
    assert torch.allclose(package, torch.tensor([[[1.4, 2.4]]])) and some.item() == 1
    package, _ = pack(x, torch.zeros(1, 3), torch.tensor([[1.0, 1.0, 0.0]]))  # scores vanish: plain mean
    assert torch.allclose(package, torch.tensor([[[2.0, 3.0]]]))
    package, some = pack(x, torch.rand(1, 3), torch.zeros(1, 3))  # nothing leaves
    assert some.item() == 0 and torch.isfinite(package).all()


@torch.no_grad()
def test_empty_and_full_keep_sets() -> None:
    for bias, package, left in ((-50.0, True, 2), (-50.0, False, 1), (50.0, True, 37), (50.0, False, 37)):
        model = pruned_vit(package=package)
        for selector in model.selectors.values():
            selector.judge.weight.data.zero_()
            selector.judge.bias.data[..., 0] = bias
        x = pictures(2)
        made = model(x)
        assert torch.isfinite(made.logits).all()
        assert [int(c[0]) for c in made.counts] == [left] * 3, "one package at most, class token always"
        assert torch.allclose(made.logits, model.run(x, masked=True, noise=0.0).logits, atol=2e-5)
        if bias > 0:
            assert torch.allclose(made.logits, model.backbone(x), atol=1e-5)


@torch.no_grad()
def test_pruned_tokens_never_come_back() -> None:
    made = pruned_vit()(pictures())
    for early, late in zip(made.keep, made.keep[1:], strict=False):
        assert (late <= early).all()


@torch.no_grad()
def test_masked_attention_is_attention_over_the_living() -> None:
    model = pruned_vit()
    attn = model.backbone.blocks[0].attn
    x = torch.randn(2, 7, 24)
    alive = torch.tensor([[1.0, 1, 0, 1, 0, 1, 1], [1, 0, 0, 0, 0, 0, 0]])
    masked = attend(attn, x, alive, None)
    for row in range(2):
        here = alive[row] == 1
        assert torch.allclose(masked[row, here], attn(x[row : row + 1, here])[0], atol=1e-5)
    x[0, 2] *= 1e4  # a dead token with a huge score: neither overflow nor underflow
    assert torch.isfinite(attend(attn, x, alive, None)).all()


@torch.no_grad()
def test_delta2_is_folded_and_changes_nothing() -> None:
    x = pictures()
    outputs = [pruned_vit(polynomials=Polynomials(1.0, d))(x).logits for d in (1.0, 0.5)]
    assert torch.allclose(*outputs, atol=1e-4)


class StrangeAttention(nn.Module):
    """timm's names, somebody else's code: separate norms of queries and keys, a fused product."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scale = heads, dim // heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.q_norm, self.k_norm = nn.LayerNorm(dim // heads), nn.LayerNorm(dim // heads)
        self.proj_drop = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        return self.proj_drop(self.proj(y.transpose(1, 2).reshape(b, n, d)))


class StrangeBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = StrangeAttention(dim, heads)
        self.ls1 = self.ls2 = nn.Linear(dim, dim, bias=False)  # stands for LayerScale
        self.drop_path1 = self.drop_path2 = nn.Identity()
        self.mlp = nn.Module()
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(dim, 2 * dim))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class StrangeViT(nn.Module):
    """A ViT that is not ours; its patches are a sequence, as in timm, and it has two prefix tokens or one."""

    def __init__(self, prefix: int, pool: str = "token") -> None:
        super().__init__()
        self.num_prefix_tokens, self.global_pool = prefix, pool
        self.patch_embed = nn.Sequential(nn.Conv2d(3, 24, 4, 4), nn.Flatten(2))
        self.cls_token = nn.Parameter(torch.randn(1, prefix, 24))
        self.pos_embed = nn.Parameter(torch.randn(1, prefix + 16, 24))
        self.blocks = nn.Sequential(*[StrangeBlock(24, 3) for _ in range(3)])
        self.norm, self.fc_norm, self.head = nn.LayerNorm(24), nn.LayerNorm(24), nn.Linear(24, 5)

    def _pos_embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x.mT], 1) + self.pos_embed

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self._pos_embed(self.patch_embed(x))))
        return self.head(self.fc_norm(x[:, 0]))


@pytest.mark.parametrize("prefix", [1, 2])
@torch.no_grad()
def test_any_vit_with_timms_names(prefix: int) -> None:
    torch.manual_seed(0)
    vit = StrangeViT(prefix)
    shaken(vit)
    x = torch.randn(3, 3, 16, 16)
    dense = vit(x)
    model = HeatViT(vit, HeatConfig(before=(1, 2))).eval()
    block = vit.blocks[0]
    tokens = torch.randn(2, 9, 24)
    assert torch.allclose(run_block(block, tokens, torch.ones(2, 9)), block(tokens), atol=1e-5)
    fresh = model(x)  # a new selector keeps nearly everything; here all of it
    assert all(float(k.mean()) == 1 for k in fresh.keep)
    assert torch.allclose(fresh.logits, dense, atol=1e-5)
    for selector in model.selectors.values():
        shaken(selector, 0.7)
    balance(model, x)
    made = model(x)
    assert 0 < float(made.keep[-1].mean()) < 1
    assert torch.allclose(made.logits, model.run(x, masked=True, noise=0.0).logits, atol=2e-5)


def test_a_vit_without_class_token_is_refused() -> None:
    for vit in (StrangeViT(1, "avg"), StrangeViT(0)):
        with pytest.raises(ValueError, match="class token"):
            HeatViT(vit)
    with pytest.raises(ValueError, match="block 9"):
        HeatViT(StrangeViT(1), HeatConfig())
