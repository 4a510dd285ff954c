"""The graph of the adjoint against torch's own gradient, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from bifocal.errors import ModelError
from bifocal.learn.packing.adjoint import adjoint_graph
from bifocal.runtime.engines.onnxruntime import open_session
from bifocal.runtime.model import Model
from bifocal.runtime.rendering import render
from bifocal.runtime.search import adjoint


def small_graph() -> tuple[bytes, dict[str, np.ndarray]]:
    """Every operator that synthesis uses: y [1,2,h,w] → pixels [1,3,2h,2w]."""
    rng = np.random.default_rng(0)
    weights = {
        "first": rng.normal(0, 0.5, (7, 2, 3, 3)),
        "offset": rng.normal(0, 0.5, 7),
        "second": rng.normal(0, 0.5, (4, 4, 3, 3)),
        "up": rng.normal(0, 20, (4, 3, 2, 2)),
        "grey": np.full(1, 100.0),
        "parts": np.array([3, 4]),
        "widen": rng.normal(0, 0.5, (4, 3, 1, 1)),
    }
    nodes = [
        helper.make_node("Conv", ["y", "first", "offset"], ["both"], pads=[1, 1, 1, 1]),
        helper.make_node("Split", ["both", "parts"], ["narrow", "wide"], axis=1),
        helper.make_node("Conv", ["narrow", "widen"], ["widened"]),
        helper.make_node("Add", ["widened", "wide"], ["deep"]),
        helper.make_node("Relu", ["deep"], ["active"]),
        helper.make_node("Conv", ["active", "second"], ["second_out"], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["second_out"], ["more"], alpha=0.1),
        helper.make_node("Add", ["more", "deep"], ["sum"]),
        helper.make_node("ConvTranspose", ["sum", "up"], ["raw"], strides=[2, 2]),
        helper.make_node("Add", ["raw", "grey"], ["moved"]),
        helper.make_node("Identity", ["moved"], ["pixels"]),
    ]
    initialisers = [
        onnx.numpy_helper.from_array(v.astype(np.int64 if k == "parts" else np.float32), k)
        for k, v in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "synthesis",
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, "h", "w"])],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, "ph", "pw"])],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    return model.SerializeToString(), weights


def in_torch(y: torch.Tensor, weights: dict[str, np.ndarray], *, linear: bool = False) -> torch.Tensor:
    """With ``linear`` no gradient goes through activations."""
    t = {k: torch.from_numpy(v.astype(np.float32)) for k, v in weights.items()}
    narrow, wide = F.conv2d(y, t["first"], t["offset"], padding=1).split([3, 4], 1)
    deep = F.conv2d(narrow, t["widen"]) + wide
    active = F.leaky_relu(F.conv2d(deep.relu(), t["second"], padding=1), 0.1)
    more = (active.detach() if linear else active) + deep
    return F.conv_transpose2d(more, t["up"], stride=2) + t["grey"]


@pytest.mark.parametrize("linear", [False, True])
def test_it_is_the_gradient_that_torch_finds(linear: bool, tmp_path: Path) -> None:
    data, weights = small_graph()
    path = tmp_path / "adjoint.onnx"
    path.write_bytes(adjoint_graph(data, linear=linear))
    session = open_session(path, {}, threads=1)
    rng = np.random.default_rng(1)
    y = rng.normal(0, 2, (1, 2, 6, 9)).astype(np.float32)
    target = rng.uniform(0, 255, (1, 3, 12, 18)).astype(np.float32)
    weight = rng.uniform(0, 1, (1, 1, 12, 18)).astype(np.float32)
    pixels, gradient = session.run(["pixels", "gradient"], {"y": y, "target": target, "weight": weight})
    leaf = torch.from_numpy(y).requires_grad_()
    ours = in_torch(leaf, weights, linear=linear).clamp(0, 255)
    (0.5 * torch.from_numpy(weight) * (ours - torch.from_numpy(target)) ** 2).sum().backward()
    assert ((pixels > 0) & (pixels < 255)).mean() > 0.3 and (pixels == 0).any()  # clipping matters here
    np.testing.assert_allclose(pixels, ours.detach().numpy(), atol=1e-3)
    assert leaf.grad is not None
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-3, atol=0.5)


def test_a_packed_model_has_the_pixels_of_its_synthesis(tiny_model: Model) -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(-60, 60, (16, 8, 12)).astype(np.int32)
    target, weight = np.zeros((3, 128, 192), np.float32), np.ones((128, 192), np.float32)
    pixels, gradient = adjoint(tiny_model, y, target, weight, 60)
    plain = render(
        tiny_model, lambda rows, columns: y[:, rows, columns], width=192, height=128, quality=60, gray=False
    )
    assert np.abs(pixels.transpose(1, 2, 0) - plain).max() <= 0.501
    assert gradient.shape == y.shape


def test_an_operator_without_a_rule_is_refused() -> None:
    model = onnx.load_model_from_string(small_graph()[0])
    model.graph.node[-1].op_type = "Tanh"
    with pytest.raises(ModelError, match="Tanh"):
        adjoint_graph(model.SerializeToString())


def test_a_part_beside_the_linear_path_has_no_gradient(tmp_path: Path) -> None:
    """A packed codec runs both paths by one convolution and splits its output."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["y", "first"], ["both"]),
            helper.make_node("Split", ["both", "parts"], ["straight", "deep"], axis=1),
            helper.make_node("Relu", ["deep"], ["active"]),
            helper.make_node("Add", ["straight", "active"], ["pixels"]),
        ],
        "synthesis",
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, "h", "w"])],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [
            onnx.numpy_helper.from_array(np.float32([2, 2, 2, 5, 5, 5]).reshape(6, 1, 1, 1), "first"),
            onnx.numpy_helper.from_array(np.array([3, 3]), "parts"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    path = tmp_path / "adjoint.onnx"
    path.write_bytes(adjoint_graph(model.SerializeToString(), linear=True))
    session = open_session(path, {}, threads=1)
    ones = np.ones((1, 1, 2, 2), np.float32)
    target = np.full((1, 3, 2, 2), 5, np.float32)
    pixels, gradient = session.run(["pixels", "gradient"], {"y": ones, "target": target, "weight": ones})
    assert (pixels == 7).all() and (gradient == 3 * 2 * (7 - 5)).all()


def test_a_synthesis_without_a_linear_path_is_refused() -> None:
    model = onnx.load_model_from_string(small_graph()[0])
    model.graph.node[7].input[1] = "more"  # nothing goes past the activations
    with pytest.raises(ModelError, match="linear path"):
        adjoint_graph(model.SerializeToString(), linear=True)
