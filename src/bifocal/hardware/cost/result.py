"""What was measured of a network, over some passes; and what that is in energy."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bifocal.hardware.cost.constants import Energy
from bifocal.hardware.cost.measure import FLOAT32, LayerCost, TensorCost, Traffic


@dataclass(frozen=True)
class Quality:
    """A figure of quality in float and with decoded activations."""

    what: str
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """A network: its traffic, summed over ``passes``, and its quality, means over them."""

    name: str
    traffic: Traffic
    passes: int
    quality: tuple[Quality, ...]


@dataclass(frozen=True)
class EnergyParts:
    """Energy in mJ of one way of storing activations."""

    dram: float
    products: float
    transforms: float
    coding: float

    @property
    def total(self) -> float:
        return self.dram + self.products + self.transforms + self.coding


def energy(traffic: Traffic, way: str, constants: Energy) -> EnergyParts:
    """What a pass costs: float32 with its own arithmetic, everything else in 8 bits.

    ``8 · bytes · e_dram + (multiply–adds, those of transforms too) · e_mac + values coded or decoded ·
    e_code``.
    """
    full = way == FLOAT32
    product = constants.mac_float32 if full else constants.mac_int8
    coded = 0 if way in (FLOAT32, "raw") else sum(t.values * (1 + t.reads) for t in traffic.tensors)
    transforms = 0 if full else traffic.transform_macs
    parts = (
        8 * traffic.total(way) * constants.dram,
        traffic.macs * product,
        transforms * product,
        coded * constants.code,
    )
    return EnergyParts(*(1e-9 * part for part in parts))


def summed(passes: Sequence[Traffic]) -> Traffic:
    """Passes of one network as one: bytes, values and products are summed, live memory is the largest, and
    shapes and tiles are those of the first pass. Outputs are left out."""
    first = passes[0]

    def totals(maps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {way: sum(each[way] for each in maps) for way in first.ways}

    tensors = []
    for group in zip(*(p.tensors for p in passes), strict=True):
        values = sum(t.values for t in group)
        zeros = sum(t.zeros * t.values for t in group) / max(1, values)
        one: TensorCost = replace(
            group[0],
            values=values,
            depth=max(t.depth for t in group),
            zeros=zeros,
            bytes=totals([t.bytes for t in group]),
            side=totals([t.side for t in group]),
        )
        tensors.append(one)
    layers = []
    for cells in zip(*(p.layers for p in passes), strict=True):
        layer: LayerCost = replace(
            cells[0],
            macs=sum(c.macs for c in cells),
            transform_macs=sum(c.transform_macs for c in cells),
            weights=sum(c.weights for c in cells),
        )
        layers.append(layer)
    return replace(
        first,
        layers=tuple(layers),
        tensors=tuple(tensors),
        boundary=totals([p.boundary for p in passes]),
        live={way: max(p.live[way] for p in passes) for way in first.ways},
        outputs={},
        reference={},
    )


def layer_rows(result: NetworkResult) -> list[dict[str, Any]]:
    """A row for each tensor in memory: which layer makes it, its size, and its bytes by way."""
    traffic = result.traffic
    maker = {name: layer for layer in traffic.layers for name in layer.writes}
    rows = []
    for tensor in traffic.tensors:
        layer = maker[tensor.name]
        row: dict[str, Any] = {
            "network": result.name,
            "layer": layer.name,
            "operators": layer.ops,
            "tensor": tensor.name,
            "shape": "x".join(map(str, tensor.shape)),
            "values": tensor.values,
            "bits": tensor.depth,
            "zeros": round(tensor.zeros, 4),
            "reads": tensor.reads,
        }
        for way in traffic.ways:
            row[f"{way} bytes"] = tensor.bytes[way]
        for way in traffic.ways[1:]:
            row[f"{way} side"] = round(tensor.side[way])
        rows.append(row)
    return rows


def csv_text(results: Sequence[NetworkResult]) -> str:
    """All rows of :func:`layer_rows` as CSV."""
    rows = [row for result in results for row in layer_rows(result)]
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def as_json(results: Sequence[NetworkResult], constants: Energy, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that a report shows, as plain numbers."""
    return {"facts": dict(facts), "networks": [_network(result, constants) for result in results]}


def _network(result: NetworkResult, constants: Energy) -> dict[str, Any]:
    traffic = result.traffic
    ways = {}
    for way in traffic.ways:
        parts = energy(traffic, way, constants)
        ways[way] = {
            "activation_bytes": traffic.activations(way),
            "boundary_bytes": traffic.boundary[way],
            "total_bytes": traffic.total(way),
            "side_bytes": round(traffic.side(way)),
            "bits_per_activation": round(traffic.bits(way), 4),
            "peak_live_bytes": traffic.live[way],
            "less_than_float32": round(traffic.activations(FLOAT32) / max(1, traffic.activations(way)), 3),
            "total_less_than_float32": round(traffic.total(FLOAT32) / max(1, traffic.total(way)), 3),
            "energy_mj": {
                "dram": round(parts.dram, 4),
                "products": round(parts.products, 4),
                "transforms": round(parts.transforms, 4),
                "coding": round(parts.coding, 4),
                "total": round(parts.total, 4),
            },
        }
    return {
        "name": result.name,
        "passes": result.passes,
        "multiply_adds": traffic.macs,
        "transform_multiply_adds": traffic.transform_macs,
        "weights_read": traffic.weights,
        "activations": traffic.values,
        "ways": ways,
        "quality": [{"what": q.what, "float": q.before, "coded": q.after} for q in result.quality],
        "tiles": [
            {
                "side": t.side,
                "bytes": t.bytes,
                "boundary_bytes": t.boundary,
                "multiply_adds": t.macs,
                "recomputed": round(t.recomputed, 4),
                "sram_bytes": t.sram,
            }
            for t in traffic.tiled
        ],
        "not_tiled": traffic.not_tiled,
        "line_buffer_bytes": traffic.line_buffer,
        "layers": layer_rows(result),
    }
