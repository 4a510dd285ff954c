"""Packing of a classifier of pixels: a head as a file for comparisons, which no codec goes with."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn
from torch.export import Dim

from bifocal.learn.nets.heads.pixel_stem import STRIDE
from bifocal.learn.packing.graphs import module_graph

#: Positions a side of a window.
WINDOW = 24


def pixel_head(network: nn.Module, classes: tuple[str, ...], card: dict[str, object]) -> bytes:
    """The .bfh of a classifier of pixels."""
    sides = {k + 2: STRIDE * Dim(name, min=1, max=WINDOW) for k, name in enumerate("hw")}
    example = {"pixels": torch.zeros(1, 3, 7 * STRIDE, 5 * STRIDE)}
    graph, weights = module_graph(network, "head", example, {"pixels": sides}, ("logits",))
    spec = {
        "format": 1,
        "kind": "classify",
        "name": "pixels",
        "codec": "none",
        "fingerprint": "0" * 16,
        "classes": list(classes),
        "channels": 3,
        "window": WINDOW,
        "reads": "pixels",
        "card": card,
    }
    tensors = {name: value.astype(np.float16) for name, value in weights.items()}
    return save({"graph.0": np.frombuffer(graph, np.uint8), **tensors}, {"bifocal": json.dumps(spec)})
