"""What cannot be measured is one error that names the node and what to do; nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bifocal.errors import BifocalError, GraphError, OptionError
from bifocal.hardware.cost import graph as graphs
from bifocal.hardware.cost.coders import find_coders
from bifocal.hardware.cost.graph import load_graph
from bifocal.hardware.cost.measure import measure
from tests.hardware.cost.networks import model, residual, weight

node = helper.make_node
PICTURE = {"x": np.ones((1, 3, 16, 16), np.float32)}


def conditional() -> onnx.ModelProto:
    value = [helper.make_tensor_value_info("v", TensorProto.FLOAT, None)]
    branch = helper.make_graph([node("Identity", ["x"], ["v"])], "branch", [], value)
    choice = numpy_helper.from_array(np.array(True), "choice")
    chosen = node("If", ["choice"], ["y"], name="either", then_branch=branch, else_branch=branch)
    return model([chosen], {"x": [1, 3, "h", "w"]}, ["y"], [choice])


def foreign(op: str, domain: str) -> onnx.ModelProto:
    made = model([node(op, ["x"], ["y"], name="mine", domain=domain)], {"x": [1, 3, 8, 8]}, ["y"])
    made.opset_import.append(helper.make_opsetid(domain or "other", 1))
    return made


def external(location: str) -> onnx.ModelProto:
    made = residual()
    tensor = made.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return made


def huge() -> onnx.ModelProto:
    made = external("weights.bin")
    made.graph.initializer[1].dims[:] = [1 << 15, 1 << 15, 3, 3]
    return made


def dangling() -> onnx.ModelProto:
    return model([node("Relu", ["nothing"], ["y"], name="act")], {"x": [1, 3, 8, 8]}, ["y"])


def random_values() -> onnx.ModelProto:
    return model([node("RandomNormalLike", ["x"], ["y"], name="noise")], {"x": [1, 3, 8, 8]}, ["y"])


LOADING: list[tuple[Callable[[], onnx.ModelProto], str]] = [
    (conditional, r"the node either \(If\) is control flow.* Export the network without it"),
    (lambda: foreign("Swirl", ""), r"the node mine \(Swirl\) is an operator that is not ONNX's own"),
    (lambda: foreign("Relu", "com.acme"), r"the node mine \(Relu\) is an operator of com.acme"),
    (lambda: external("w.bin"), r"constant b, read by the node inner \(Conv\).*'w.bin', which is missing"),
    (lambda: external("../w.bin"), r"'../w.bin', which is not beside the graph"),
    (lambda: external("/etc/hostname"), r"which is not beside the graph"),
    (huge, r"more than 2 GB of constants; b, read by the node inner \(Conv\)"),
    (dangling, r"the node act \(Relu\) reads nothing, which nothing makes"),
    (random_values, r"the node noise \(RandomNormalLike\) gives random values"),
]


@pytest.mark.parametrize(("made", "message"), LOADING)
def test_graphs_that_are_refused(made: Callable[[], onnx.ModelProto], message: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(made().SerializeToString())
    with pytest.raises(GraphError, match=message) as caught:
        load_graph(path)
    assert re.search(r"\. (Export|Put) .*\.$", str(caught.value).replace("\n", " "))


@pytest.mark.parametrize("data", [b"", b"\x08\x09", b"no graph at all", bytes(100)])
def test_files_that_are_no_graph(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(data)
    with pytest.raises(GraphError, match="no ONNX file"):
        load_graph(path)
    with pytest.raises(GraphError, match="cannot be read"):
        load_graph(tmp_path / "missing.onnx")
    with pytest.raises(GraphError, match="cannot be read"):
        load_graph(tmp_path)


def test_a_file_beyond_2_gb_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(residual().SerializeToString())
    monkeypatch.setattr(graphs, "MAX_CONSTANTS", 100)
    with pytest.raises(GraphError, match="at most 2 GB of constants"):
        load_graph(path)


def test_every_cut_or_flipped_graph_is_measured_or_refused(tmp_path: Path) -> None:
    whole = residual(16, 16).SerializeToString()
    rng = np.random.default_rng(3)
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        wrong = bytes(data[: rng.integers(1, len(data))]) if rng.random() < 0.3 else bytes(data)
        try:
            graph = load_graph(wrong)
            feeds = {n: np.ones([size or 16 for size in s], np.float32) for n, s in graph.inputs.items()}
            measure(graph, feeds, find_coders("symmetric"), threads=1)
        except BifocalError:
            continue


def refused_run(made: Any, feeds: dict[str, Any]) -> str:
    graph = load_graph(made.SerializeToString(), name="net")
    with pytest.raises(BifocalError) as caught:
        measure(graph, feeds, find_coders("raw"), threads=1)
    return str(caught.value)


def test_sizes_that_stay_unknown_name_the_node() -> None:
    nodes = [node("NonZero", ["x"], ["n"], name="where"), node("Cast", ["n"], ["y"], to=TensorProto.FLOAT)]
    made = model(nodes, {"x": [1, 3, "h", "w"]}, ["y"])
    message = refused_run(made, PICTURE)
    assert "the size of n, made by the node where (NonZero), stays unknown" in message


def test_sizes_that_do_not_fit_are_refused() -> None:
    made = residual(16, 16)
    assert "takes x as [1, 3, 16, 16]" in refused_run(made, {"x": np.ones((1, 3, 8, 8), np.float32)})
    assert "the feeds are z" in refused_run(made, {"z": PICTURE["x"]})
    assert "one picture at a time" in refused_run(residual(), {"x": np.ones((2, 3, 8, 8), np.float32)})
    odd = model(
        [node("Conv", ["x", "a"], ["y"], name="conv")],
        {"x": [1, 4, "h", "w"]},
        ["y"],
        [weight("a", 8, 3, 3, 3)],
    )
    assert "does not" in refused_run(odd, {"x": np.ones((1, 4, 8, 8), np.float32)})


def test_values_that_are_not_finite_name_the_node() -> None:
    nodes = [
        node("Log", ["x"], ["l"], name="log"),
        node("Conv", ["l", "a"], ["y"], name="conv"),
    ]
    made = model(nodes, {"x": [1, 3, "h", "w"]}, ["y"], [weight("a", 8, 3, 1, 1)])
    message = refused_run(made, {"x": np.zeros((1, 3, 8, 8), np.float32)})
    assert "y, made by the node conv (Conv), has NaN or infinite values" in message
    bad = {"x": np.full((1, 3, 8, 8), np.nan, np.float32)}
    assert "the array for x has NaN" in refused_run(made, bad)


def test_a_tensor_that_would_fill_the_memory_is_refused() -> None:
    shape = numpy_helper.from_array(np.array([1, 3, 1 << 15, 1 << 15], np.int64), "shape")
    made = model([node("Expand", ["x", "shape"], ["y"], name="grow")], {"x": [1, 3, 1, 1]}, ["y"], [shape])
    message = refused_run(made, {"x": np.ones((1, 3, 1, 1), np.float32)})
    assert "the node grow (Expand), would have 3,221,225,472 values" in message


def test_inputs_that_are_no_picture_are_listed() -> None:
    made = model([node("Relu", ["x"], ["y"])], {"x": [1, 5, "h", "w"]}, ["y"])
    with pytest.raises(GraphError, match=r"its inputs are x \[1, 5, \?, \?\]. Give --data an .npz file"):
        load_graph(made.SerializeToString()).picture_input()
    with pytest.raises(OptionError, match="not finite|NaN"):
        load_graph(residual().SerializeToString()).check_feeds({"x": np.full((1, 3, 4, 4), np.inf)})
