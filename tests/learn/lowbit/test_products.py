"""Integer products and the floats that carry them agree bit for bit, and their bounds hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bifocal.errors import TrainingError
from bifocal.learn.lowbit import Policy, convert
from bifocal.learn.lowbit.products import Carrier, Geometry, Integers, Operand, cauchy_schwarz, matrix_product


def whole(shape: tuple[int, ...], reach: int, seed: int) -> Operand:
    generator = torch.Generator().manual_seed(seed)
    return Operand(torch.randint(-reach, reach + 1, shape, generator=generator).float(), reach)


def random_case(seed: int) -> tuple[Geometry, tuple[int, ...], tuple[int, ...]]:
    """A geometry, the shape of a map and that of a kernel, which fits it."""
    rng = np.random.default_rng(seed)
    kernel, stride, padding, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(4))
    size = tuple(int(rng.integers(1, 6)) + d * (k - 1) for k, d in zip(kernel, dilation, strict=True))
    n, i, o = map(int, rng.integers(1, 6, 3))
    geometry = Geometry(stride, tuple(p - 1 for p in padding), dilation)  # type: ignore[arg-type]
    return geometry, (n, i, *size), (o, i, *kernel)


@pytest.mark.parametrize("reach", [56, 127, 7 << 7])
@pytest.mark.parametrize("seed", range(8))
def test_both_engines_agree_with_autograd_on_random_convolutions(seed: int, reach: int) -> None:
    geometry, map_shape, kernel_shape = random_case(seed)
    x, w = whole(map_shape, reach, seed), whole(kernel_shape, 127, seed + 1)
    a, b = (t.numbers.double().requires_grad_() for t in (x, w))
    y = F.conv2d(a, b, None, geometry.stride, geometry.padding, geometry.dilation)
    dy = whole(tuple(y.shape), reach, seed + 2)
    y.backward(dy.numbers.double())
    assert a.grad is not None and b.grad is not None
    for engine in (Carrier(), Integers(), Integers(accumulator=24)):
        assert torch.equal(engine.forward(x, w, geometry).double(), y.detach())
        assert torch.equal(engine.input_gradient(dy, w, a.shape, geometry).double(), a.grad)
        assert torch.equal(engine.weight_gradient(dy, x, b.shape, geometry).double(), b.grad)


@pytest.mark.parametrize("seed", range(4))
def test_both_engines_agree_on_random_matrices(seed: int) -> None:
    m, i, o = map(int, np.random.default_rng(seed).integers(1, 90, 3))
    x, w, dy = whole((m, i), 56, seed), whole((o, i), 127, seed + 1), whole((m, o), 7, seed + 2)
    for engine in (Carrier(), Integers()):
        found = engine.forward(x, w, None), engine.input_gradient(dy, w, x.numbers.shape, None)
        found += (engine.weight_gradient(dy, x, w.numbers.shape, None),)
        exact = [t.numbers.double() for t in (x, w, dy)]
        expected = exact[0] @ exact[1].T, exact[2] @ exact[1], exact[2].T @ exact[0]
        assert all(torch.equal(a.double(), b) for a, b in zip(found, expected, strict=True))


def test_a_wide_convolution_is_exact_whatever_algorithm_runs_it() -> None:
    """3×3 kernels on many channels are where engines choose Winograd, whose fractions would round."""
    geometry = Geometry(padding=(1, 1))
    x, w, dy = whole((2, 64, 16, 16), 56, 0), whole((64, 64, 3, 3), 7, 1), whole((2, 64, 16, 16), 56, 2)
    for name in ("forward", "input_gradient", "weight_gradient"):
        given = {"forward": (x, w), "input_gradient": (dy, w, x.numbers.shape)}.get(name)
        given = given or (dy, x, w.numbers.shape)
        a, b = (getattr(engine, name)(*given, geometry).double() for engine in (Carrier(), Integers()))
        assert torch.equal(a, b)


def test_int8_products_are_exact_at_the_extremes() -> None:
    a = torch.full((3, 5000), -128, dtype=torch.int8)
    b = torch.full((5000, 2), 127, dtype=torch.int8)
    assert matrix_product(a, b).tolist() == [[-128 * 127 * 5000] * 2] * 3


def test_the_carrier_takes_float64_where_float32_would_round() -> None:
    x = Operand(torch.full((1, 2048), 2.0**7), 2**7)
    x.numbers[0, 0] += 1
    y = Carrier().forward(x, Operand(x.numbers.clone(), 2**7), None)
    assert y.dtype == torch.float64 and int(y) == 2**14 * 2047 + 129**2
    with pytest.raises(TrainingError, match="2\\^53"):
        Carrier().forward(Operand(x.numbers, 2**30), Operand(x.numbers, 2**30), None)


def test_the_bound_of_weight_gradients_holds_and_is_reached() -> None:
    dy, x = whole((64, 5), 7, 0).numbers, whole((64, 3), 56, 1).numbers
    assert float((dy.abs().T @ x.abs()).max()) <= cauchy_schwarz(dy, x)
    ones = torch.full((100, 1), 7.0)
    assert cauchy_schwarz(ones, ones) == pytest.approx(4900)


def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1),
        nn.LayerNorm([5, 5]), nn.ReLU(), nn.Conv2d(12, 12, 1, bias=False), nn.Flatten(2), nn.Linear(25, 6),
        nn.Flatten(), nn.Linear(72, 10),
    )  # fmt: skip


@pytest.mark.parametrize("policy", [(4, 4, 4, 0), (6, 6, 2, 6), (4, 4, 8, 4), (8, 8, 1, 8), (4, 0, 4, 0)])
def test_a_model_trains_alike_in_integers_and_in_floats_that_carry_them(policy: tuple[int, ...]) -> None:
    forward, backward, groups, norm_bits = policy
    x = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    found = []
    for engine in ("carrier", "integers"):
        chosen = Policy(forward, backward, groups=groups, norm_bits=norm_bits, engine=engine, seed=5)
        model = convert(net(), chosen)
        optimiser = torch.optim.SGD(model.parameters(), 0.05)
        for _ in range(2):
            optimiser.zero_grad()
            model(x).square().mean().backward()
            optimiser.step()
        found.append([*model.parameters(), *model.buffers(), model.eval()(x)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
