"""Conversion: what is replaced and reported, what is refused and how, master weights, export."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.lowbit import Policy, convert, export_onnx, integer_masters, report
from bifocal.learn.lowbit.layers import LowBitConv2d, LowBitLinear
from bifocal.learn.lowbit.masters import on_grid
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4),
    )  # fmt: skip


def trained(model: nn.Module, steps: int = 3) -> nn.Module:
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    x = torch.randn(8, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        optimiser.zero_grad()
        model(x).square().mean().backward()
        optimiser.step()
    return model


def test_every_layer_states_the_bits_of_its_three_products() -> None:
    rows = report(convert(small(), Policy(4, 6, weight_gradient=0, groups=2, norm_bits=8)))
    found = {r.name: (r.kind, r.forward, r.input_gradient, r.weight_gradient, r.groups) for r in rows}
    assert found["0"] == ("conv2d", 8, 8, 8, "1")
    assert found["1"] == ("batch norm L1", 8, 8, 8, "-")
    assert found["3"] == ("conv2d", 4, 6, 0, "2")
    assert found["10"] == ("linear", 8, 8, 8, "1")


def test_parameters_stay_the_same_objects_and_the_state_loads() -> None:
    model = small()
    weights = [model[i].weight for i in (0, 3, 8, 10)]
    converted = convert(model, Policy())
    assert all(
        converted.get_submodule(str(i)).weight is w for i, w in zip((0, 3, 8, 10), weights, strict=True)
    )
    converted.load_state_dict(convert(small(), Policy()).state_dict())


def test_a_transformer_converts_and_trains() -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(nn.Conv2d(3, 16, 4, 4), VitConfig(dim=16, depth=1, heads=2, grid=3))
    model = convert(vit, Policy(6, 6, groups=2))
    kinds = {row.kind for row in report(model)}
    assert kinds == {"conv2d", "linear", "layer norm L1"}
    loss = model(torch.randn(2, 3, 12, 12)).square().mean()
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_with_float_products_a_converted_model_is_the_model() -> None:
    x = torch.randn(2, 3, 8, 8)
    plain, same = small(), convert(small(), Policy(0, 0, first_last=0, norm=2))
    assert report(same) == () and torch.equal(plain(x), same(x))
    wide = convert(small(), Policy(12, 12, groups=1, first_last=12, norm=2, stochastic=False))
    a, b = plain(x), wide(x)
    torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)


def test_gradients_of_quantised_products_are_near_those_of_float() -> None:
    x, torch_layer = torch.randn(256, 32), nn.Linear(32, 16)
    expected = torch.autograd.grad(torch_layer(x).square().sum(), torch_layer.weight)[0]
    layer = convert(torch_layer, Policy(first_last=8))
    found = torch.autograd.grad(layer(x).square().sum(), layer.weight)[0]
    assert float((found - expected).norm() / expected.norm()) < 0.05


def test_noise_is_a_function_of_the_seed_and_goes_on_from_a_checkpoint() -> None:
    def weights(seed: int) -> torch.Tensor:
        return trained(convert(small(), Policy(seed=seed))).get_submodule("3").weight

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))
    model = trained(convert(small(), Policy()))
    again = convert(small(), Policy())
    again.load_state_dict(model.state_dict())
    assert torch.equal(
        trained(model, 1).get_submodule("3").weight, trained(again, 1).get_submodule("3").weight
    )


def test_a_layer_that_is_used_twice_is_converted_everywhere() -> None:
    shared = nn.Linear(4, 4)
    model = convert(nn.Sequential(nn.Linear(4, 4), shared, nn.ReLU(), shared, nn.Linear(4, 2)), Policy())
    assert model.get_submodule("1") is model.get_submodule("3")
    assert isinstance(model.get_submodule("1"), LowBitLinear)
    model(torch.randn(3, 4)).sum().backward()


def test_empty_batches_and_autocast_go_through() -> None:
    model = trained(convert(small(), Policy()))
    layer = model.get_submodule("8")
    assert layer(torch.zeros(0, 8)).shape == (0, 16) and layer(torch.zeros(2, 0, 8)).shape == (2, 0, 16)
    assert layer.train()(torch.zeros(0, 8)).shape == (0, 16) and layer(torch.zeros(8)).shape == (16,)
    x = torch.randn(4, 3, 8, 8)
    alone, again = convert(small(), Policy()), convert(small(), Policy())
    expected = alone(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = again(x)
        (found.float().sum()).backward()
    expected.sum().backward()
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0.05)
    assert torch.equal(again.get_submodule("0")(x), alone.get_submodule("0")(x))


# -- refusals ------------------------------------------------------------------------------------------------


def test_unsupported_layers_are_listed_by_name_with_what_to_do() -> None:
    model = nn.ModuleDict(
        {
            "up": nn.ConvTranspose2d(3, 3, 2),
            "depthwise": nn.Conv2d(4, 4, 3, groups=4),
            "circular": nn.Conv2d(4, 4, 3, padding_mode="circular"),
            "attention": nn.MultiheadAttention(8, 2),
            "group": nn.GroupNorm(2, 4),
            "line": nn.BatchNorm1d(4),
            "even": nn.Conv2d(4, 4, 2, padding="same"),
            "fine": nn.Linear(4, 4),
        }
    )
    with pytest.raises(TrainingError, match="7 layers have no integer version") as found:
        convert(model)
    for name in ("up", "depthwise", "circular", "attention", "group", "line", "even"):
        assert f"  {name}: " in str(found.value)
    assert "out_proj" not in str(found.value) and "keep=['up'" in str(found.value)
    keep = ["up", "depthwise", "circular", "attention*", "group", "line", "even"]
    assert [row.name for row in report(convert(model, keep=keep))] == ["fine"]
    with pytest.raises(TrainingError, match="fine: it is converted already"):
        convert(model, keep=keep)


def test_a_layer_with_a_forward_of_its_own_is_refused() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    with pytest.raises(TrainingError, match="forward of its own"):
        convert(nn.Sequential(Doubled(2, 2)))
    with pytest.raises(TrainingError, match="nothing|no linear layer"):
        convert(nn.ReLU())
    with pytest.raises(TrainingError, match="no such layers"):
        convert(small(), keep=["stem"])


@pytest.mark.parametrize(
    ("policy", "bound"),
    [
        ({"accumulator": 15, "groups": 4}, 8 * 9 * 56 * 7),
        ({"forward": 16, "backward": 16, "groups": 4}, 72 * ((2**15 - 1) << 3) * (2**15 - 1)),
        ({"forward": 4, "backward": 12, "groups": 10}, 72 * (2047 << 9) * 2047),
    ],
)
def test_a_policy_that_could_overflow_is_refused_with_its_bound(policy: dict[str, int], bound: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3), nn.Linear(8, 2))
    with pytest.raises(TrainingError, match=re.escape(f"may reach {bound:,}")) as found:
        convert(model, Policy(**policy, first_last=4))  # type: ignore[arg-type]
    assert "layer 1: sums of its" in str(found.value)
    assert isinstance(model[1], nn.Conv2d) and not isinstance(model[1], LowBitConv2d), "nothing was converted"


@pytest.mark.parametrize(
    "wrong",
    [
        {"forward": 1}, {"forward": 40}, {"groups": 0}, {"norm": 3}, {"engine": "gpu"}, {"accumulator": 64},
        {"groups": "channel", "engine": "integers"}, {"norm_bits": 1}, {"first_last": 99},
        {"fused_norm": True, "norm": 2}, {"forward": 4.5}, {"groups": "chan"}, {"groups": True},
        {"forward": "4"}, {"seed": -1},
    ],
)  # fmt: skip
def test_wrong_policies_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="Policy: "):
        Policy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_reported_with_the_layer(bad: float) -> None:
    model = convert(small(), Policy())
    y = model(torch.randn(4, 3, 8, 8))
    with pytest.raises(TrainingError, match="gradient of the output of layer 10 is not finite"):
        (y * bad).sum().backward()
    with pytest.raises(TrainingError, match="input of layer 0 is not finite"):
        model(torch.full((1, 3, 8, 8), bad))
    with torch.no_grad():
        model.get_submodule("3").weight.fill_(bad)
    with pytest.raises(TrainingError, match="weight of layer 3 is not finite"):
        model(torch.randn(4, 3, 8, 8))


# -- master weights and export -------------------------------------------------------------------------------


def test_integer_masters_stay_on_their_grid_and_still_learn() -> None:
    model = convert(small(), Policy())
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    hook = integer_masters(model, bits=12)
    weight = model.get_submodule("3").weight
    before = weight.detach().clone()
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimiser.step()
    model(torch.randn(4, 3, 8, 8))
    step = 2.0 ** -np.floor(np.log2((2**11 - 1) / (4 * float(before.abs().max()))))
    assert not torch.equal(weight, before)
    assert torch.equal(weight / step, (weight / step).round())
    hook.remove()
    with pytest.raises(OptionError, match="8 to 24"):
        integer_masters(model, bits=30)
    with pytest.raises(TrainingError, match="Call convert first"):
        integer_masters(small())


def test_rounding_onto_the_grid_keeps_what_is_there_and_has_no_bias() -> None:
    u = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(on_grid(torch.full_like(u, 0.375), 8, 127, u), torch.full_like(u, 0.375))
    assert on_grid(torch.full_like(u, 0.4), 8, 127, u).mean() == pytest.approx(0.4, abs=1e-3)


def test_the_exported_graph_is_the_model(tmp_path: Path) -> None:
    model = trained(convert(small(), Policy())).eval()
    assert isinstance(model.get_submodule("8"), LowBitLinear)
    x = torch.randn(6, 3, 10, 10, generator=torch.Generator().manual_seed(9))
    path = export_onnx(model, tmp_path / "model.onnx", x[:2])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    expected = model(x).detach().numpy()
    # a value on the border of two integers may round otherwise there
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert b"QuantizeLinear" in path.read_bytes() and b"DequantizeLinear" in path.read_bytes()


def test_what_cannot_be_exported_is_refused_by_name(tmp_path: Path) -> None:
    x, path = torch.randn(2, 3, 10, 10), tmp_path / "model.onnx"
    for model, says in (
        (small(), "Call convert first"),
        (convert(small(), Policy()), "layer 0 has seen no input"),
        (trained(convert(small(), Policy(groups="channel"))), 'layer 3 has groups="channel"'),
        (trained(convert(small(), Policy(6, 6, groups=8))), "layer 3: a weight of 6 bits"),
    ):
        with pytest.raises(TrainingError, match=says):
            export_onnx(model, path, x)
    assert not path.exists()
