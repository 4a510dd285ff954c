"""A graph is cut into layers, run with what the coders give back, and its bytes are counted."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from bifocal.hardware.cost.coders import CODERS, find_coders
from bifocal.hardware.cost.constants import Energy, Memory
from bifocal.hardware.cost.geometry import Stretch, needed
from bifocal.hardware.cost.graph import Graph, load_graph
from bifocal.hardware.cost.layers import plan_layers
from bifocal.hardware.cost.measure import FLOAT32, Traffic, measure
from bifocal.hardware.cost.quantise import MinMax, Steps
from bifocal.hardware.cost.result import energy, summed
from bifocal.hardware.cost.search import find_steps
from bifocal.hardware.cost.tiles import line_buffer, tile_plan
from bifocal.hardware.cost.transform import decorrelating
from tests.hardware.cost.networks import classifier, residual, shuffled

SMALL = find_coders("raw,symmetric,sparse")


def picture(height: int = 32, width: int = 48, seed: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).random((1, 3, height, width)).astype(np.float32)}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(residual().SerializeToString(), name="residual")


@pytest.fixture(scope="module")
def traffic(graph: Graph) -> Traffic:
    return measure(graph, picture(), SMALL)


def test_a_sum_is_made_by_the_layer_that_completes_it(graph: Graph) -> None:
    layers = plan_layers(graph, picture()).layers
    assert [layer.name for layer in layers] == ["stem", "inner", "outer", "tail"]
    assert [layer.writes for layer in layers] == [("act",), ("bent",), ("sum",), ("y",)]
    assert layers[2].reads == ("act", "bent")


def test_float_outputs_are_those_of_the_whole_graph(graph: Graph, traffic: Traffic) -> None:
    session = ort.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
    (whole,) = session.run(["y"], picture())
    np.testing.assert_allclose(traffic.reference["y"], whole, atol=1e-5)
    assert 0 < np.abs(traffic.outputs["y"] - whole).max() < 0.2


def test_bytes_are_written_once_and_read_by_every_reader(traffic: Traffic) -> None:
    names = {tensor.name: tensor for tensor in traffic.tensors}
    assert set(names) == {"act", "bent", "sum"} and names["act"].reads == 2
    values = 8 * 16 * 24
    assert names["act"].bytes[FLOAT32] == 4 * values
    assert names["act"].bytes["raw"] == values + 64  # one burst of header and index
    assert traffic.activations(FLOAT32) == 4 * values * (3 + 2 + 2)
    assert all(size % 64 == 0 for tensor in traffic.tensors for size in tensor.bytes.values())
    assert traffic.boundary == {FLOAT32: 4 * 2 * 3 * 32 * 48} | {c.name: 2 * 3 * 32 * 48 for c in SMALL}
    assert traffic.weights == 8 * 27 + 2 * 8 * 72 + 12 * 8
    assert traffic.macs == 16 * 24 * (8 * 27 + 2 * 8 * 72 + 12 * 8)
    assert traffic.live[FLOAT32] > traffic.live["raw"] > 0


def test_more_bits_lose_less_and_cost_more(graph: Graph) -> None:
    found = [measure(graph, picture(), SMALL, quantiser=MinMax(bits)) for bits in (4, 8)]
    errors = [float(np.abs(t.outputs["y"] - t.reference["y"]).mean()) for t in found]
    assert errors[0] > 4 * errors[1] and found[0].bits("symmetric") < found[1].bits("symmetric")


def test_steps_are_found_within_what_is_allowed(graph: Graph) -> None:
    steps = find_steps(graph, [picture()], 1e-4, threads=1)
    traffic = measure(graph, picture(), SMALL, quantiser=steps)
    error = float(((traffic.outputs["y"] - traffic.reference["y"]) ** 2).mean())
    assert 0.7e-4 < error <= 1.0001e-4 and set(steps.steps) == {"act", "bent", "sum"}


def test_decorrelating_keeps_the_network_and_counts_its_products(graph: Graph) -> None:
    turned = decorrelating(graph, [picture()])
    fine = Steps(other=1e-3)
    with_, without = (measure(graph, picture(), SMALL, quantiser=fine, transforms=t) for t in (turned, None))
    np.testing.assert_allclose(with_.outputs["y"], without.outputs["y"], atol=0.01)
    assert without.transform_macs == 0 and with_.transform_macs == 8 * 8 * 16 * 24 * (3 + 2 + 2)


def test_tiles_need_their_halo_and_give_every_product(graph: Graph) -> None:
    plan = plan_layers(graph, picture(64, 64))
    tiled, obstacle = tile_plan(plan, Memory(sram=1 << 20), sides=(16, 32, 64))
    assert obstacle == "" and [t.side for t in tiled] == [16, 32, 64]
    whole = tiled[-1]
    assert whole.recomputed == 1.0 and whole.boundary == 2 * 3 * 64 * 64
    # rows by hand: tiles of 16 outputs need 8 sums and 9, 10 or 9 bent; 10 or 12 acts; these inputs
    rows = 20 + 25 + 25 + 21
    assert tiled[0].boundary == rows * rows * 3 + 3 * 64 * 64
    assert tiled[0].recomputed > tiled[1].recomputed > 1


def test_shuffles_taken_apart_are_cut_like_the_operators() -> None:
    found = []
    for one_operator in (True, False):
        graph = load_graph(shuffled(one_operator=one_operator).SerializeToString(), name="shuffled")
        plan = plan_layers(graph, picture(64, 48))
        found.append((tile_plan(plan, Memory(), sides=(8, 16, 64)), line_buffer(plan)))
    assert found[0] == found[1] and found[1][0][1] == "" and found[1][1] > 0


@pytest.mark.parametrize(("axis", "size"), [(2, 32), (3, 24)])
def test_nothing_outside_of_what_a_stretch_needs_changes_it(axis: int, size: int) -> None:
    made = shuffled(one_operator=False).SerializeToString()
    plan = plan_layers(load_graph(made, name="shuffled"), picture(64, 48))
    session = ort.InferenceSession(made)
    feeds = picture(64, 48)
    for start in (0, 5, size - 3):
        stretch = Stretch(axis, start, start + 3)
        needs = {"y": stretch}
        for node in reversed(plan.graph.nodes):
            needs |= needed(plan, node, needs[node.outputs[0]])
        assert needs["x"].axis == axis and needs["x"].stop - needs["x"].start < 2 * size
        other = np.moveaxis(np.full_like(feeds["x"], 1e3), axis, 0)
        inside = slice(needs["x"].start, needs["x"].stop)
        other[inside] = np.moveaxis(feeds["x"], axis, 0)[inside]
        changed = {"x": np.ascontiguousarray(np.moveaxis(other, 0, axis))}
        a, b = (np.moveaxis(session.run(None, f)[0], axis, 0) for f in (feeds, changed))
        np.testing.assert_array_equal(a[start : start + 3], b[start : start + 3])
        assert not np.array_equal(a, b)


def test_a_network_that_sees_all_cannot_be_cut() -> None:
    graph = load_graph(classifier().SerializeToString(), name="classifier")
    traffic = measure(graph, picture(32, 32), SMALL)
    assert traffic.tiled == () and "no map" in traffic.not_tiled
    assert [layer.name for layer in traffic.layers] == ["conv", "pool", "head", "softmax"]
    assert np.argmax(traffic.outputs["y"]) == np.argmax(traffic.reference["y"])


def test_energy_is_the_sum_of_its_parts(traffic: Traffic) -> None:
    constants = Energy(dram=10, mac_float32=4, mac_int8=0.5, code=0.25)
    full, coded = (energy(traffic, way, constants) for way in (FLOAT32, "symmetric"))
    assert full.dram == pytest.approx(80e-9 * traffic.total(FLOAT32))
    assert full.products == pytest.approx(4e-9 * traffic.macs) and full.coding == 0
    values = 8 * 16 * 24 * (3 + 2 + 2)
    assert coded.coding == pytest.approx(0.25e-9 * values)
    assert coded.total == pytest.approx(coded.dram + coded.products + coded.coding)


def test_passes_are_summed(traffic: Traffic) -> None:
    twice = summed([traffic, traffic])
    assert twice.total("raw") == 2 * traffic.total("raw") and twice.live == traffic.live
    assert twice.macs == 2 * traffic.macs and twice.bits("raw") == traffic.bits("raw")


def test_integer_networks_are_coded_without_loss() -> None:
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["i", "axes"], ["total"], name="sum", keepdims=1),
        helper.make_node("Neg", ["total"], ["n"], name="neg"),
        helper.make_node("ReduceMax", ["n"], ["m"], name="max", keepdims=1),
        helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT),
    ]
    from tests.hardware.cost.networks import model

    axes = onnx.numpy_helper.from_array(np.array([1], np.int64), "axes")
    graph = load_graph(model(nodes, {"x": [1, 3, "h", "w"]}, ["y"], [axes]).SerializeToString())
    traffic = measure(graph, {"x": np.rint(picture()["x"] * 99)}, tuple(CODERS[n] for n in ("symmetric",)))
    assert traffic.outputs["y"] == traffic.reference["y"] and traffic.tensors[0].name == "n"
