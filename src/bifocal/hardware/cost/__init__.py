"""What a network costs in memory traffic: coders of activations, layers of a graph, energy, a report.

``measure`` runs any ONNX graph with every activation that leaves a layer written by real coders and read
back. It is the bandwidth-efficient inference of arXiv 2309.02855 as a tool (docs/traffic.md).

>>> from bifocal.hardware.cost import load_graph, measure
>>> graph = load_graph("network.onnx")  # doctest: +SKIP
>>> traffic = measure(graph, {"pixels": pixels})  # doctest: +SKIP
>>> traffic.activations("float32") / traffic.activations("symmetric")  # doctest: +SKIP

Importing it loads nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifocal.hardware.cost.coders import CODERS, Coder, find_coders
    from bifocal.hardware.cost.constants import Energy, Memory
    from bifocal.hardware.cost.graph import Graph, load_graph
    from bifocal.hardware.cost.measure import Traffic, measure
    from bifocal.hardware.cost.quantise import MinMax, PowerOfTwo, Steps
    from bifocal.hardware.cost.report import write_report
    from bifocal.hardware.cost.result import NetworkResult, energy
    from bifocal.hardware.cost.search import find_steps
    from bifocal.hardware.cost.transform import Transforms, decorrelating

_MODULES = {
    "CODERS": "coders",
    "Coder": "coders",
    "Energy": "constants",
    "Graph": "graph",
    "Memory": "constants",
    "MinMax": "quantise",
    "NetworkResult": "result",
    "PowerOfTwo": "quantise",
    "Steps": "quantise",
    "Traffic": "measure",
    "Transforms": "transform",
    "decorrelating": "transform",
    "energy": "result",
    "find_coders": "coders",
    "find_steps": "search",
    "load_graph": "graph",
    "measure": "measure",
    "write_report": "report",
}

__all__ = [
    "CODERS",
    "Coder",
    "Energy",
    "Graph",
    "Memory",
    "MinMax",
    "NetworkResult",
    "PowerOfTwo",
    "Steps",
    "Traffic",
    "Transforms",
    "decorrelating",
    "energy",
    "find_coders",
    "find_steps",
    "load_graph",
    "measure",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bifocal.hardware.cost' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"bifocal.hardware.cost.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
