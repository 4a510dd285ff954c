"""A packed model read as src/bifocal/stream/SPEC.md says, in plain Python: sections 12 to 14.

The other half of :mod:`tests.conformance.spec_decoder`, which says what the two are for.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, product
from operator import mul
from typing import Any

Array = list[list[list[int]]]  # [channel][row][column], section 1
Tensor = tuple[list[int], list[int]]  # shape and elements, section 13
Network = tuple[list[int], "list[Layer]"]  # input_max and layers, section 12


class Refused(ValueError):
    """The stream or the model breaks a rule of SPEC.md."""


def require(condition: bool, rule: str) -> None:
    """Refuse unless the rule is kept."""
    if not condition:
        raise Refused(rule)


def clip(a: int, lo: int, hi: int) -> int:
    """Section 1."""
    return min(max(a, lo), hi)


def zeros(channels: int, rows: int, columns: int) -> Array:
    """An array of zeros, section 1."""
    return [[[0] * columns for _ in range(rows)] for _ in range(channels)]


@dataclass(frozen=True)
class Layer:
    """One layer of an exact network, section 12; a row of `weight` is flat over [i, k, k]."""

    kernel: int
    relu: bool
    lo: int
    hi: int
    shuffle: bool
    weight: list[list[int]]
    bias: list[list[int]]
    shift: list[int]


@dataclass(frozen=True)
class Model:
    """What section 13 says a decoder of latents needs."""

    plan: dict[str, Any]
    networks: list[Network]  # hyper, predict.0, predict.1, ...
    radius: list[int]
    cumulative: list[list[int]]  # c[e] of section 8 for e = 0 .. 2R+2, for every table
    z_index: list[list[int]]
    points: list[list[int]]  # the reconstruction of wire id 2, section 11; zeros for wire id 1
    wire_id: int
    fingerprint: bytes


INTEGERS = {"I8": ("b", 1), "I16": ("h", 2), "I32": ("i", 4)}


def read_tensors(data: bytes) -> dict[str, Tensor]:
    """The integer tensors of `weights.safetensors`, section 13."""
    size = int.from_bytes(data[:8], "little")
    require(size <= len(data) - 8, "the weights are cut off")
    body, tensors = data[8 + size :], {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__" or entry["dtype"] not in INTEGERS:
            continue
        form, width = INTEGERS[entry["dtype"]]
        count = math.prod(entry["shape"])
        begin, end = entry["data_offsets"]
        require(0 <= begin and end - begin == count * width and end <= len(body), f"{name}: offsets")
        require(width == 1 or not name.endswith(".weight"), f"{name}: dtype")
        tensors[name] = (entry["shape"], list(struct.unpack_from(f"<{count}{form}", body, begin)))
    return tensors


def record(shape: Sequence[int], elements: Sequence[int], size: int = 4) -> bytes:
    """A record of the fingerprint, section 14."""
    head = struct.pack(f"<BB{len(shape)}I", size, len(shape), *shape)
    return head + struct.pack(f"<{len(elements)}{'b' if size == 1 else 'i'}", *elements)


def split_rows(tensor: Tensor) -> list[list[int]]:
    """The elements of a tensor by its first dimension."""
    shape, elements = tensor
    size = math.prod(shape[1:])
    return [elements[n * size : (n + 1) * size] for n in range(shape[0])]


def check_bound(network: Network) -> None:
    """The bound of section 12 and the ranges of section 15, with the shapes that they need."""
    limit, layers = network
    require(all(0 <= most <= 2**24 for most in limit), "input_max")
    for layer in layers:
        require(layer.kernel in (1, 3) and len(layer.bias) in (1, 100), "kernel or rows of biases")
        require(-(2**24) <= layer.lo <= layer.hi <= 2**24 and (layer.hi >= 0 or not layer.relu), "lo and hi")
        require(len(layer.weight) == len(layer.shift) == len(layer.bias[0]), "a layer's shapes")
        require(set(layer.shift) <= set(range(25)), "shift is 0 to 24")
        taps, outputs = layer.kernel**2, len(layer.weight)
        for r, row in enumerate(layer.weight):
            require(len(row) == taps * len(limit), "a layer's input channels")
            total = sum(abs(w) * limit[n // taps] for n, w in enumerate(row))
            require(total + max(abs(bias[r]) for bias in layer.bias) <= 2**24, "the bound of section 12")
        largest = max(abs(max(layer.lo, 0) if layer.relu else layer.lo), abs(layer.hi))
        require(not layer.shuffle or outputs % 4 == 0, "shuffle takes channels by fours")
        limit = [largest] * (outputs // 4 if layer.shuffle else outputs)


def check_wire_2(network: Network, hyper: bool) -> None:
    """What section 12 asks of networks of wire id 2."""
    limit, layers = network
    require(not hyper or max(limit) <= 127, "z within 127")
    for n, layer in enumerate(layers):
        require(all(abs(w) <= 63 for row in layer.weight for w in row), "weights within 63")
        require(not hyper and n + 1 == len(layers) or layer.relu and layer.hi <= 255, "activations 0 to 255")


def in_group(i: int, j: int, c: int, steps: int, step: int) -> bool:
    """The conditions of section 11, y, step 3."""
    if steps == 1:
        return True
    if steps == 2:
        return (i + j + c) & 1 == step
    require(steps == 4, "steps is 1, 2 or 4")
    return (2 * (i & 1) + (j & 1)) ^ (0, 3, 1, 2)[step] == c & 3


def check_plan(plan: dict[str, Any]) -> None:
    """Every position of y is in one group (section 11), and the ranges of section 15."""
    for c, i, j in product(range(plan["y_channels"]), (0, 1), (0, 1)):
        held = [in_group(i, j, c, *rest) for start, stop, *rest in plan["groups"] if start <= c < stop]
        require(sum(held) == 1, "the groups hold every position once")
    require(plan["z_stride"] % plan["y_stride"] == 0 == 64 % plan["z_stride"], "strides")
    for key, lowest, highest in (("fraction", 0, 6), ("context_shift", 0, 8), ("context_max", 1, 32767)):
        require(lowest <= plan[key] <= highest, key)


def load_model(model_json: bytes, weights: bytes) -> Model:
    """A packed model from its two files (section 13), with its fingerprint (section 14)."""
    text = json.loads(model_json)
    wire_id = text["wire_id"]
    require(text["format"] == 1 and wire_id in (1, 2), "format is 1, wire id 1 or 2")
    plan, tensors = text["plan"], read_tensors(weights)
    check_plan(plan)
    keys = "y_channels z_channels y_stride z_stride fraction context_shift context_max skip"
    numbers = [wire_id, *(plan[key] for key in keys.split())]
    count, groups = len(plan["groups"]), list(chain.from_iterable(plan["groups"]))
    records = [record([9], numbers), record([count, 4], groups)]
    networks = []
    for name in ["hyper", *(f"predict.{k}" for k in range(count))]:
        described = text["exact"][name]
        records.append(record([len(described["input_max"])], described["input_max"]))
        layers = []
        for n, entry in enumerate(described["layers"]):
            five = [entry[key] for key in ("kernel", "relu", "lo", "hi", "shuffle")]
            records.append(record([5], [int(number) for number in five]))
            weight, bias, shift = (tensors[f"exact.{name}.{n}.{key}"] for key in ("weight", "bias", "shift"))
            records += [record(*weight, size=1), record(*bias), record(*shift)]
            layers.append(Layer(*[*five, split_rows(weight), split_rows(bias), shift[1]]))
        networks.append((described["input_max"], layers))
        check_bound(networks[-1])
        if wire_id == 2:
            check_wire_2(networks[-1], name == "hyper")
        require(name == "hyper" or max(-layers[-1].lo, layers[-1].hi) <= 32767, "means within 32767")
    radius, frequency, z_index = (tensors[name] for name in ("tables.radius", "tables.frequency", "z_index"))
    records += [record(*radius), record(*frequency), record(*z_index)]
    cumulative = []
    require(frequency[0] == [len(radius[1]), 2 * max(radius[1]) + 2], "the shape of the frequencies")
    for R, row in zip(radius[1], split_rows(frequency), strict=True):
        used = 2 * R + 2
        require(min(row[:used]) >= 1 and sum(row) == 2**16 and not any(row[used:]), "a table of section 9")
        cumulative.append(list(accumulate(row[:used], initial=0)))
    require(1 <= len(cumulative) <= 256 and 0 <= plan["skip"] <= len(cumulative), "number of tables, skip")
    require(z_index[0] == [100, plan["z_channels"]], "the shape of z_index")
    require(set(z_index[1]) <= set(range(len(cumulative))), "z_index names tables")
    points = [[0] * 3 for _ in cumulative]
    if wire_id == 2:
        records.append(record(*tensors["tables.reconstruction"]))
        points = split_rows(tensors["tables.reconstruction"])
        require(
            tensors["tables.reconstruction"][0] == [len(cumulative), 3], "the shape of the reconstruction"
        )
        require(all(2 * abs(s) < 2 ** plan["fraction"] for row in points for s in row), "half a step or more")
    digest = hashlib.sha256(b"bifocal entropy model 1\n" + b"".join(records)).digest()
    require(text.get("fingerprint", digest[:8].hex()) == digest[:8].hex(), "the fingerprint of model.json")
    return Model(plan, networks, radius[1], cumulative, split_rows(z_index), points, wire_id, digest[:8])


def run_layer(layer: Layer, x: Array, quality: int) -> Array:
    """One layer, section 12."""
    rows, columns, k = len(x[0]), len(x[0][0]), layer.kernel
    if k == 3:  # X of section 12: zero outside the tile
        edge = [0] * (columns + 2)
        x = [[edge, *([0, *row, 0] for row in plane), edge] for plane in x]
    bias = layer.bias[quality - 1 if len(layer.bias) == 100 else 0]
    parts = list(zip(layer.weight, bias, layer.shift, strict=True))
    lo = max(layer.lo, 0) if layer.relu else layer.lo  # one clip does both: check_bound saw to hi >= 0
    n = 2 if layer.shuffle else 1
    out = zeros(len(parts) // n**2, n * rows, n * columns)
    for i in range(rows):
        for j in range(columns):
            patch = [v for plane in x for row in plane[i : i + k] for v in row[j : j + k]]
            for r, (weight, b, shift) in enumerate(parts):
                v = (b + sum(map(mul, weight, patch))) >> shift
                out[r // n**2][n * i + r // n % n][n * j + r % n] = clip(v, lo, layer.hi)
    return out


def run_network(network: Network, x: Array, quality: int) -> Array:
    """An exact network, section 12."""
    x = [[[clip(v, -m, m) for v in row] for row in p] for p, m in zip(x, network[0], strict=True)]
    for layer in network[1]:
        x = run_layer(layer, x, quality)
    return x
