"""A .bfh is untrusted input: whatever is in it, the answer is a head or a clear refusal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save

import bifocal
from bifocal.errors import BifocalError, HeadError
from bifocal.runtime.heads import file as head_file
from bifocal.runtime.heads.classify import answer
from bifocal.runtime.heads.file import read_card, shipped_heads
from tests.tiny_head import (
    CHANNELS,
    CLASSES,
    dense_head,
    graph_of,
    matrix,
    mean_graph,
    selecting_head,
    spec_of,
    write_head,
)

FINGERPRINT = b"8 bytes!"
Y = np.zeros((CHANNELS, 2, 3), np.float32)
LONG = [1 << 31]  # an array of so many floats has eight gigabytes


def load(path: Path) -> bifocal.Head:
    return bifocal.Head.load(path, threads=1)


def test_a_head_says_what_it_is(tmp_path: Path) -> None:
    path = selecting_head(tmp_path / "a.bfh", FINGERPRINT, token=32, multiple=4)
    card = read_card(path)
    assert card.classes == CLASSES and card.stages == (True, True) and card.card["licence"] == "Apache-2.0"
    assert load(path).spec == card and load(path).name == "tiny"


@pytest.mark.parametrize("name", ["nothing", "no/such/file.bfh", "../mine"])
def test_an_unknown_head_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadError, match="neither a shipped one .* nor a file.*bifocal-train head"):
        bifocal.Head.load(name)


def test_shipped_heads_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_file, "HEADS", tmp_path)
    dense_head(tmp_path / "mine.bfh", FINGERPRINT)
    assert [path.stem for path in shipped_heads()] == ["mine"]
    assert bifocal.Head.load("mine").name == "tiny"


@pytest.mark.parametrize("data", [b"", b"BFC", b"\x89BFC" * 50, bytes(200), b"{" * 5000])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.bfh").write_bytes(data)
    with pytest.raises(HeadError, match="cannot be read as a head"):
        load(tmp_path / "a.bfh")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bfh").write_bytes(save({"weight": np.zeros(3)}))
    with pytest.raises(HeadError, match="no head of Bifocal"):
        load(tmp_path / "a.bfh")


def test_a_file_larger_than_any_head_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.bfh", "wb") as file:
        file.truncate(head_file.MAX_FILE + 1)
    with pytest.raises(HeadError, match="has 67108865 bytes, and a head at most"):
        load(tmp_path / "a.bfh")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "format 2, and this release reads 1"),
        ({"format": None}, "format None"),
        ({"kind": "paint"}, "kind is paint"),
        ({"kind": ["classify"]}, "kind is"),
        ({"name": None}, "'name'"),
        ({"name": 7}, "'name'"),
        ({"codec": ""}, "'codec'"),
        ({"fingerprint": "xyz"}, "'fingerprint'"),
        ({"classes": ["one"]}, "'classes'"),
        ({"classes": ["one", "one"]}, "'classes'"),
        ({"classes": ["one", 2]}, "'classes'"),
        ({"classes": [str(k) for k in range(10_001)]}, "'classes'"),
        ({"channels": 0}, "'channels' is 0, and must be a whole number of 1 to 4096"),
        ({"channels": 1 << 40}, "'channels'"),
        ({"channels": True}, "'channels'"),
        ({"channels": 4.0}, "'channels'"),
        ({"window": 100_000}, "'window'"),
        ({"window": 8, "multiple": 3}, "'multiple'"),
        ({"bits": 1}, "'bits'"),
        ({"reads": "minds"}, "'reads'"),
        ({"stages": [{}]}, "'stages'"),
        ({"stages": "none"}, "'stages'"),
        ({"stages": [{"package": True}] * 17}, "'stages'"),
        ({"stages": [{"package": True}]}, "graph.1 is missing"),
        ({"token": 24}, "'token'"),
        ({"token": 32}, "'token'"),
        ({"card": "good"}, "'card'"),
    ],
)
def test_a_description_out_of_range_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    spec = spec_of(FINGERPRINT, **changes)
    path = write_head(tmp_path / "a.bfh", spec, [mean_graph(CHANNELS)], {"weight": matrix()})
    with pytest.raises(HeadError, match="is not usable: .*" + why.replace(".", r"\.") + ".*Fetch it again"):
        load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000])
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = write_head(tmp_path / "a.bfh", text, [mean_graph(CHANNELS)], {"weight": matrix()})
    with pytest.raises(HeadError, match="description is no JSON"):
        load(path)


def test_weights_must_be_those_that_graphs_ask_for(tmp_path: Path) -> None:
    spec, graph = spec_of(FINGERPRINT), mean_graph(CHANNELS)
    for arrays in ({}, {"weight": matrix(5)}, {"weight": matrix().T.copy()}):
        path = write_head(tmp_path / "a.bfh", spec, [graph], arrays)
        with pytest.raises(HeadError, match=r"weights 'weight' \[4, 3\], which are not there"):
            load(path)
    text = {"weight": np.full((CHANNELS, 3), True)}  # of another kind of number
    with pytest.raises(HeadError, match="ONNX Runtime refuses"):
        load(write_head(tmp_path / "a.bfh", spec, [graph], text))


def test_a_head_that_does_not_say_its_kind_classifies(tmp_path: Path) -> None:
    spec = spec_of(FINGERPRINT, kind=None)
    assert "kind" not in spec
    head = load(write_head(tmp_path / "a.bfh", spec, [mean_graph(CHANNELS)], {"weight": matrix()}))
    assert head.spec.kind == "classify" and len(answer(head, Y).logits) == len(CLASSES)


def test_more_graphs_than_stages_are_refused(tmp_path: Path) -> None:
    graphs = [mean_graph(CHANNELS)] * 2
    with pytest.raises(HeadError, match="more graphs than the 1"):
        load(write_head(tmp_path / "a.bfh", spec_of(FINGERPRINT), graphs, {"weight": matrix()}))


def answering(*nodes: onnx.NodeProto, output: list[Any] | None = None) -> onnx.ModelProto:
    """A head's graph that ends in logits made by ``nodes``."""
    logits = output or [1, len(CLASSES)]
    return graph_of(list(nodes), {"y": [1, CHANNELS, "h", "w"]}, {"logits": logits})


def constant(name: str, values: list[int]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value_ints=values)


def branch() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("made", TensorProto.FLOAT, [1, 3])
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["made"], value_floats=[1.0])], "inner", [], [value]
    )
    true = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [1]))
    return answering(true, helper.make_node("If", ["c"], ["logits"], then_branch=inner, else_branch=inner))


def foreign() -> onnx.ModelProto:
    graph = answering(helper.make_node("Gelu", ["y"], ["logits"], domain="com.microsoft"))
    graph.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return graph


def function() -> onnx.ModelProto:
    graph = answering(helper.make_node("Mine", ["y"], ["logits"]))
    body = [helper.make_node("Relu", ["x"], ["z"])]
    graph.functions.append(
        helper.make_function("", "Mine", ["x"], ["z"], body, [helper.make_opsetid("", 17)])
    )
    return graph


def elsewhere() -> onnx.ModelProto:
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return answering(helper.make_node("Constant", [], ["logits"], value=tensor))


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (branch, "loops, branches"),
        (foreign, "not ONNX's own"),
        (function, "functions of its own"),
        (elsewhere, "values in other files"),
        (
            lambda: answering(*[helper.make_node("Relu", ["y"], [f"r{k}"]) for k in range(20_001)]),
            "20001 nodes",
        ),
        (lambda: answering(helper.make_node("Nonsense", ["y"], ["logits"])), "ONNX Runtime refuses"),
        (lambda: graph_of([], {"x": [1, 4, "h", "w"]}, {"x": [1, 4, "h", "w"]}), "takes"),
        (lambda: mean_graph(CHANNELS + 1), r"takes y .* not float32 \[1, 4, h, w\]"),
        (lambda: mean_graph(CHANNELS, "x"), r"takes \['x'\] and not \['y'\]"),
    ],
)
def test_graphs_that_could_do_more_than_arithmetic_are_refused(
    tmp_path: Path, graph: Callable[[], onnx.ModelProto], why: str
) -> None:
    arrays = {"weight": np.zeros((CHANNELS + ("CHANNELS + 1" in why), 3), np.float32)}
    if why.startswith("takes y"):
        arrays = {"weight": matrix(CHANNELS + 1)}
    path = write_head(tmp_path / "a.bfh", spec_of(FINGERPRINT), [graph()], arrays)
    with pytest.raises(HeadError, match=why):
        load(path)


def test_sizes_must_be_open(tmp_path: Path) -> None:
    graph = mean_graph(CHANNELS)
    graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8
    path = write_head(tmp_path / "a.bfh", spec_of(FINGERPRINT), [graph], {"weight": matrix()})
    with pytest.raises(HeadError, match="of a fixed size"):
        load(path)


@pytest.mark.parametrize("folded", [True, False])
def test_memory_is_bounded(tmp_path: Path, folded: bool) -> None:
    """A graph of a hundred bytes may ask for gigabytes, when it is loaded or when it runs."""
    scale = helper.make_node("Identity", ["long"], ["size"])
    if not folded:
        scale = helper.make_node("Mul", ["long", "one"], ["size"])
    graph = answering(
        constant("long", LONG),
        constant("zero", [0]),
        helper.make_node("Shape", ["y"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["one"]),
        scale,
        helper.make_node("ConstantOfShape", ["size"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
        helper.make_node("Add", ["y", "sum"], ["logits"]),
    )
    head = load(write_head(tmp_path / "a.bfh", spec_of(FINGERPRINT), [graph], {}))
    with pytest.raises(HeadError, match="graph.0 of head tiny fails on y"):
        answer(head, Y)


def test_an_answer_must_be_one(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["y"], ["mean"], axes=[2, 3], keepdims=0)
    logarithm = [mean, helper.make_node("Log", ["mean"], ["logits"])]
    four = write_head(
        tmp_path / "a.bfh", spec_of(FINGERPRINT), [answering(*logarithm, output=["b", "n"])], {}
    )
    with pytest.raises(HeadError, match="not with one for each of 3 classes"):
        answer(load(four), Y)
    classes = [str(k) for k in range(CHANNELS)]
    spec = spec_of(FINGERPRINT, classes=classes)
    infinite = write_head(tmp_path / "b.bfh", spec, [answering(*logarithm, output=["b", "n"])], {})
    with pytest.raises(HeadError, match="not\n?.*finite"):
        answer(load(infinite), Y)


@pytest.mark.parametrize(
    "made",
    [
        helper.make_node("Identity", ["y"], ["evidence"]),  # of four classes, and there are three
        helper.make_node("Identity", ["logits"], ["evidence"]),
        helper.make_node("Resize", ["full", "", "twice"], ["evidence"]),  # more than a number a place
        helper.make_node("Log", ["nothing"], ["evidence"]),  # not finite
    ],
)
def test_evidence_must_be_of_the_window_and_its_classes(tmp_path: Path, made: onnx.NodeProto) -> None:
    nodes = [
        helper.make_node("Slice", ["y", "from", "to", "axis"], ["full"]),
        *(constant(name, [value]) for name, value in (("from", 0), ("to", 3), ("axis", 1))),
        helper.make_node("Constant", [], ["twice"], value_floats=[1.0, 1.0, 2.0, 1.0]),
        helper.make_node("Sub", ["full", "full"], ["nothing"]),
        helper.make_node("ReduceMean", ["full"], ["logits"], axes=[2, 3], keepdims=0),
        made,
    ]
    outputs: dict[str, list[Any]] = {"logits": ["b", "n"], "evidence": []}
    graph = graph_of(nodes, {"y": [1, CHANNELS, "h", "w"]}, outputs)
    graph.graph.output[1].type.tensor_type.ClearField("shape")
    head = load(write_head(tmp_path / "a.bfh", spec_of(FINGERPRINT), [graph], {}))
    with pytest.raises(HeadError, match="gives evidence .* for 2×3 tokens and 3 classes"):
        answer(head, Y)


def test_segments_must_fit_each_other(tmp_path: Path) -> None:
    stages = [{"package": True}]
    only = {"y": [1, CHANNELS, "h", "w"]}
    same = helper.make_node("Identity", ["y"], ["tokens_out"])
    last = graph_of(
        [helper.make_node("ReduceMean", ["tokens"], ["logits"], axes=[1], keepdims=0)],
        {"tokens": [1, "n", 3]},
        {"logits": [1, 3]},
    )
    silent = graph_of([same], only, {"tokens_out": [1, CHANNELS, "h", "w"]})
    path = write_head(tmp_path / "a.bfh", spec_of(FINGERPRINT, stages=stages), [silent, last], {})
    with pytest.raises(HeadError, match="must give keep"):
        load(path)
    odd = graph_of(
        [same, helper.make_node("Identity", ["y"], ["keep"])],
        only,
        {"tokens_out": [1, CHANNELS, "h", "w"], "keep": [1, CHANNELS, "h", "w"]},
    )
    path = write_head(tmp_path / "b.bfh", spec_of(FINGERPRINT, stages=stages), [odd, last], {})
    with pytest.raises(HeadError, match="gives scores .* where 7 tokens went in"):
        answer(load(path), Y)


def test_damage_anywhere_is_refused_or_harmless(tmp_path: Path) -> None:
    whole = selecting_head(tmp_path / "whole.bfh", FINGERPRINT).read_bytes()
    rng = random.Random(5)
    path = tmp_path / "a.bfh"
    for trial in range(150):
        data = bytearray(whole)
        if trial % 3:
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        else:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            answer(load(path), Y)
        except BifocalError as error:
            assert str(error).endswith((".", "!")) and len(str(error)) < 2000


def test_the_description_is_the_json_that_was_written(tmp_path: Path) -> None:
    spec = spec_of(FINGERPRINT)
    path = write_head(tmp_path / "a.bfh", json.dumps(spec), [mean_graph(CHANNELS)], {"weight": matrix()})
    card = read_card(path)
    assert (card.name, card.channels, card.window, card.multiple) == ("tiny", CHANNELS, 8, 1)
