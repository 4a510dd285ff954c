"""The entropy model: a fingerprint of every integer, and nothing damaged gets past loading."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bifocal.errors import BoundError, ModelError
from bifocal.stream.coder import Tables
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactNet
from bifocal.stream.plan import Group
from tests.conformance.make_golden import points_model, tiny_model

MODEL = tiny_model()


def test_saved_models_load_alike(tmp_path: Path) -> None:
    MODEL.save(tmp_path, {"card": {"licence": "none"}}, {"analysis.w": np.zeros(3, np.float16)})
    again = EntropyModel.load(tmp_path)
    assert (again.name, again.release, again.plan) == (MODEL.name, MODEL.release, MODEL.plan)
    assert again.fingerprint == MODEL.fingerprint
    assert json.loads((tmp_path / "model.json").read_text())["card"] == {"licence": "none"}


def record(size: int, values: Any) -> bytes:
    array = np.asarray(values)
    head = struct.pack(f"<BB{array.ndim}I", size, array.ndim, *array.shape)
    return head + array.astype({1: "<i1", 4: "<i4"}[size]).tobytes()


def test_integers_are_stored_in_the_smallest_type_and_loaded_alike(tmp_path: Path) -> None:
    MODEL.save(tmp_path, arrays={"gain": np.full((2, 3), 70_000, np.int32)})
    stored = load_file(tmp_path / "weights.safetensors")
    assert {stored[key].dtype.name for key in ("z_index", "tables.radius")} <= {"int8", "int16"}
    assert stored["gain"].dtype == np.int32
    assert all(array.dtype == np.int32 for array in (MODEL.z_index, EntropyModel.load(tmp_path).z_index))
    wide = {k: v if k.endswith(".weight") else v.astype(np.int32) for k, v in stored.items() if k != "gain"}
    save_file(wide, tmp_path / "weights.safetensors")
    assert EntropyModel.load(tmp_path).fingerprint == MODEL.fingerprint


def test_the_fingerprint_is_that_of_the_specification(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    spec, tensors = (
        json.loads((tmp_path / "model.json").read_text()),
        load_file(tmp_path / "weights.safetensors"),
    )
    plan = spec["plan"]
    names = "y_channels z_channels y_stride z_stride fraction context_shift context_max skip".split()
    parts = [b"bifocal entropy model 1\n", record(4, [spec["wire_id"], *(plan[n] for n in names)])]
    parts.append(record(4, plan["groups"]))
    for name in ("hyper", *(f"predict.{k}" for k in range(len(plan["groups"])))):
        net = spec["exact"][name]
        parts.append(record(4, net["input_max"]))
        for i, a in enumerate(net["layers"]):
            parts.append(record(4, [a["kernel"], int(a["relu"]), a["lo"], a["hi"], int(a["shuffle"])]))
            parts += [record(1 if p == "weight" else 4, tensors[f"exact.{name}.{i}.{p}"])
                      for p in ("weight", "bias", "shift")]  # fmt: skip
    parts += [record(4, tensors[n]) for n in ("tables.radius", "tables.frequency", "z_index")]
    assert hashlib.sha256(b"".join(parts)).digest()[:8] == MODEL.fingerprint


def changed_weight() -> EntropyModel:
    first, *rest = MODEL.predictors
    layer = first.layers[0]
    weight = layer.weight.copy()
    weight[0, 0, 0, 0] ^= 1
    layers = (replace(layer, weight=weight), *first.layers[1:])
    return replace(MODEL, predictors=(ExactNet(first.name, first.input_max, layers), *rest))


def changed_table() -> EntropyModel:
    frequency = MODEL.tables.frequency.copy()
    frequency[0, 0] += 1
    frequency[0, MODEL.tables.radius[0]] -= 1
    return replace(MODEL, tables=Tables(frequency, MODEL.tables.radius))


@pytest.mark.parametrize(
    "other",
    [
        lambda: replace(MODEL, plan=replace(MODEL.plan, skip=MODEL.plan.skip + 1)),
        lambda: replace(MODEL, plan=replace(MODEL.plan, context_max=1022)),
        lambda: replace(MODEL, z_index=MODEL.z_index[::-1].copy()),
        changed_weight,
        changed_table,
    ],
)
def test_every_integer_changes_the_fingerprint(other: Any) -> None:
    assert other().fingerprint != MODEL.fingerprint


def test_a_name_or_release_does_not_change_the_fingerprint() -> None:
    assert replace(MODEL, name="other", release=(9, 9, 9)).fingerprint == MODEL.fingerprint


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"groups": MODEL.plan.groups[:-1]}, "exactly once"),
        ({"groups": (*MODEL.plan.groups, MODEL.plan.groups[0])}, "exactly once"),
        ({"groups": (Group(0, 99, 1, 0),)}, "does not exist"),
        ({"groups": (Group(0, 16, 1, 0),)}, "no predictor"),
        ({"y_stride": 48}, "divide"),
        ({"z_stride": 128}, "divide"),
        ({"y_stride": 0}, "divide"),
        ({"y_stride": 8}, "size of y"),
        ({"fraction": 7}, "fixed-point"),
        ({"context_max": 0}, "context"),
        ({"skip": 65}, "skip"),
        ({"z_channels": 5}, "take z"),
    ],
)
def test_plans_that_do_not_fit_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        replace(MODEL, plan=replace(MODEL.plan, **change))


def test_parts_that_do_not_fit_are_refused() -> None:
    swapped = (MODEL.predictors[2], *MODEL.predictors[1:])
    wide = replace(MODEL.predictors[0].layers[-1], hi=40000)
    loud = ExactNet("predict.0", MODEL.predictors[0].input_max, (*MODEL.predictors[0].layers[:-1], wide))
    for change in (
        {"predictors": swapped},
        {"predictors": (loud, *MODEL.predictors[1:])},
        {"predictors": (MODEL.hyper, *MODEL.predictors[1:])},
        {"z_index": MODEL.z_index[:99]},
        {"z_index": MODEL.z_index + 64},
        {"z_index": MODEL.z_index.astype(np.int64)},
    ):
        with pytest.raises(ModelError):
            replace(MODEL, **change)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("plan"),
        lambda s: s.update(format=2),
        lambda s: s.update(wire_id=7),
        lambda s: s.update(version="1.0"),
        lambda s: s.update(version="1.0.300"),
        lambda s: s.update(fingerprint="0" * 16),
        lambda s: s.update(exact=[]),
        lambda s: s["exact"].pop("predict.3"),
        lambda s: s["plan"].pop("skip"),
        lambda s: s["plan"].update(groups=[[0, 16]]),
        lambda s: s["plan"].update(groups=None),
        lambda s: s["plan"].update(y_channels="many"),
    ],
)
def test_damaged_descriptions_are_refused(tmp_path: Path, change: Any) -> None:
    MODEL.save(tmp_path)
    spec = json.loads((tmp_path / "model.json").read_text())
    change(spec)
    (tmp_path / "model.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError):
        EntropyModel.load(tmp_path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        EntropyModel.load(tmp_path / "nowhere")
    MODEL.save(tmp_path)
    weights, spec = (tmp_path / "weights.safetensors").read_bytes(), (tmp_path / "model.json").read_bytes()
    for damaged in (b"", weights[:100], weights[:-1], b"\xff" * 64):
        (tmp_path / "weights.safetensors").write_bytes(damaged)
        with pytest.raises(ModelError):
            EntropyModel.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(weights)
    for damaged in (b"", spec[:-9], b"[]", b"\xff"):
        (tmp_path / "model.json").write_bytes(damaged)
        with pytest.raises(ModelError):
            EntropyModel.load(tmp_path)


def test_a_model_whose_sums_are_too_large_does_not_load(tmp_path: Path) -> None:
    MODEL.save(tmp_path)
    tensors = load_file(tmp_path / "weights.safetensors")
    tensors["exact.predict.1.1.bias"] += 2**24
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(BoundError, match=r"predict\.1 layer 1"):
        EntropyModel.load(tmp_path)


POINTS = points_model()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"reconstruction": None}, "reconstruction is not its wire id's"),
        ({"wire_id": 1}, "reconstruction is not its wire id's"),
        ({"wire_id": 3}, "wire id 3 does not exist"),
        ({"reconstruction": np.zeros((64, 2), np.int32)}, "misshapen"),
        ({"reconstruction": np.full((64, 3), -8, np.int32)}, "half a step"),
    ],
)
def test_reconstruction_points_are_checked(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError, match=what):
        replace(POINTS, **change)


def test_networks_of_wire_2_fit_bytes() -> None:
    first, *rest = POINTS.hyper.layers
    for layer, what in (
        (replace(first, weight=np.full_like(first.weight, 64)), "weights beyond ±63"),
        (replace(first, hi=256), "outside 0 to 255"),
        (replace(first, relu=False, lo=-1), "outside 0 to 255"),
    ):
        with pytest.raises(ModelError, match=what):
            replace(POINTS, hyper=replace(POINTS.hyper, layers=(layer, *rest)))


def test_symbols_are_decoded_to_their_points() -> None:
    assert POINTS.reconstruction is not None
    q = np.array([0, 1, -1, 2, -3, 900], np.int32)
    index = np.array([5, 5, 5, 9, 9, 9], np.uint8)
    five, nine = POINTS.reconstruction[5], POINTS.reconstruction[9]
    wanted = [0, 16 - five[0], five[0] - 16, 32 - nine[1], nine[2] - 48, 16 * 900 - nine[2]]
    assert POINTS.offsets(q, index).tolist() == wanted
    assert MODEL.offsets(q, index).tolist() == (16 * q).tolist()
