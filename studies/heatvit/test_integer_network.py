"""The integer path: two arithmetics that agree bit for bit, near the float model, within 32 bits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bifocal.learn.nets.heads.fixed_point import (
    WIDE,
    Floats,
    Integers,
    exp,
    gelu,
    normalise,
    power,
    quantise_norm,
    rescale,
    sigmoid,
)
from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.polynomial import Polynomials, plan_sigmoid, poly_exp, poly_gelu
from bifocal.learn.nets.heads.timm_names import embed
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from studies.heatvit.integer_network import quantise, run_integer

X = np.concatenate([np.arange(-900_000, 900_000, 1237), [0, 1, -1, 2**16, -(2**16), 115933, -115934]])


def both(f: object, x: np.ndarray = X) -> np.ndarray:
    integers, floats = (k.numpy(f(k, k.load(x))) for k in (Integers(), Floats()))  # type: ignore[operator]
    assert np.array_equal(integers, floats)
    return integers


def test_functions_agree_and_are_the_polynomials() -> None:
    real = torch.from_numpy(X / 2.0**WIDE)
    for delta in (1.0, 0.75, 0.5):
        made = both(lambda k, x, d=delta: gelu(k, x, d)) / 2.0**WIDE
        assert np.abs(made - poly_gelu(real, delta).numpy()).max() < 2e-3
    made = both(lambda k, x: exp(k, x), -np.abs(X)) / 2.0**WIDE
    assert np.abs(made - poly_exp(-real.abs()).numpy()).max() < 2e-4
    assert np.abs(both(lambda k, x: sigmoid(k, x)) / 2.0**WIDE - plan_sigmoid(real).numpy()).max() < 2e-4


def test_golden_values() -> None:
    """Numbers that a circuit has to give, too: 16 fraction bits in and out."""
    x = np.array([-200_000, -65_536, -1, 0, 1, 65_536, 200_000])
    assert both(lambda k, x: gelu(k, x, 0.5), x).tolist() == GELU
    assert both(lambda k, x: exp(k, -abs(x)), x).tolist() == EXP
    assert both(lambda k, x: sigmoid(k, x), x).tolist() == SIGMOID


GELU = [-50000, -21720, -1, 0, 0, 43816, 150000]
EXP = [3102, 24129, 65554, 65555, 65554, 24129, 3102]
SIGMOID = [3990, 16384, 32768, 32768, 32768, 49152, 61546]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([1, 30, 3000, 32767]))
def test_layer_norm_agrees_and_is_one(seed: int, d: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-size, size + 1, (5, d))
    norm = nn.LayerNorm(d, eps=1e-6)
    norm.weight.data, norm.bias.data = torch.rand(d) * 2 - 0.5, torch.randn(d)
    integers = both(lambda k, v: normalise(k, quantise_norm(norm.weight, norm.bias), v), x)
    if size >= 3000 and d > 8:
        real = norm(torch.from_numpy(x / 256.0).float()).detach().numpy()
        assert np.abs(integers / 2.0**18 - real).max() < 0.03


def test_rescaling_rounds_half_up_and_saturates() -> None:
    x = np.array([-24, -8, -7, 7, 8, 24, 10**6])
    assert both(lambda k, v: rescale(k, v, 4, 0, 127), x).tolist() == [-1, 0, 0, 0, 1, 2, 127]
    assert both(lambda k, v: rescale(k, v, 0, 2, 127), x)[:3].tolist() == [-96, -32, -28]
    assert (power(127.0), power(128.0), power(1.0), power(0.0)) == (0, -1, 6, 31)


def model_of(seed: int, *, package: bool = True, shared: bool = False) -> tuple[HeatViT, torch.Tensor]:
    torch.manual_seed(seed)
    vit = VisionTransformer(nn.Conv2d(3, 24, 4, 4), VitConfig(dim=24, depth=3, heads=3, grid=4, classes=5))
    config = HeatConfig((1, 2), package=package, shared=shared, polynomials=Polynomials())
    model = HeatViT(vit, config).eval()
    for p in model.parameters():  # permuted, non-symmetric weights: a transposed matrix shows
        p.data += 0.2 * torch.randn_like(p)
    return model, torch.randn(12, 3, 16, 16) * 2


@pytest.mark.parametrize(
    ("seed", "package", "shared"), [(0, True, False), (1, False, False), (2, True, True)]
)
def test_integers_and_twin_agree_bit_for_bit_and_follow_the_model(
    seed: int, package: bool, shared: bool
) -> None:
    model, x = model_of(seed, package=package, shared=shared)
    with torch.no_grad():  # about half of the tokens leave
        for k, selector in model.selectors.items():
            score = model(x).scores[["1", "2"].index(k)]
            middle = score[score > 0].median().clamp(0.01, 0.99)
            selector.judge.bias.data[..., 0] -= torch.logit(middle)
    net = quantise(model, x)
    agree, errors, spread = [], [], []
    for row in range(12):
        with torch.no_grad():
            tokens = embed(model.backbone, x[row : row + 1])[0].numpy()
            real = model(x[row : row + 1])
        integers, floats = (run_integer(net, tokens, k) for k in (Integers(), Floats()))
        assert np.array_equal(integers.logits, floats.logits)
        for a, b in zip(integers.scores + integers.positions, floats.scores + floats.positions, strict=True):
            assert np.array_equal(a, b)
        kept = np.zeros(16)
        kept[integers.positions[0]] = 1
        agree.append((kept == real.keep[0][0].numpy()).mean())
        errors.append(np.abs(integers.logits / 2.0**integers.fraction - real.logits[0].numpy()).max())
        spread.append(float(real.logits.std()))
    assert np.mean(agree) > 0.9, "decisions follow the float model but for borderline scores"
    assert np.mean(errors) < 0.35 * np.mean(spread)
    assert 0 < min(len(p) for p in integers.positions) < 16


def test_an_accumulator_beyond_32_bits_is_refused() -> None:
    k = Integers()
    with pytest.raises(OverflowError, match="32 bits"):
        k.product(np.full((1, 4), 2**16), np.full((4, 1), 2**14))


def test_selectors_with_bits_have_no_integer_form() -> None:
    model, x = model_of(0)
    other = HeatViT(model.backbone, HeatConfig((1,), bits=True))
    with pytest.raises(ValueError, match="integer form"):
        quantise(other, x)


def test_empty_keep_sets() -> None:
    model, x = model_of(4)
    for selector in model.selectors.values():
        selector.judge.weight.data.zero_()
        selector.judge.bias.data[..., 0] = -30
    net = quantise(model, x)
    tokens = embed(model.backbone, x[:1])[0].detach().numpy()
    made = [run_integer(net, tokens, k) for k in (Integers(), Floats())]
    assert np.array_equal(made[0].logits, made[1].logits)
    assert [len(p) for p in made[0].positions] == [0, 0] and len(made[0].scores[1]) == 1
