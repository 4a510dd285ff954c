"""A classifier of pixels as large as the shipped head, for the other side of `bifocal bench --analyse`.

    python benchmarks/pixel_head.py pixels.bfh
    bifocal bench PICTURES --analyse --against pixels.bfh

The head's network with patches of 16×16 pixels at its front in place of latents: 147 thousand multiply–adds a
place instead of 111. It is not trained, which costs the same: it is for timing only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn
from torch.export import Dim

from bifocal.nets.latent_stem import LatentClassifierConfig, latent_classifier
from bifocal.pictures.files import write_atomically
from bifocal.runtime.head import Head
from bifocal.training.graphs import module_graph

PATCH = 16


def pixel_head(config: LatentClassifierConfig, classes: tuple[str, ...], window: int) -> bytes:
    """The .bfh of an untrained classifier of pixels, of the sizes that ``config`` gives a head of latents."""
    torch.manual_seed(0)
    sizes = dataclasses.replace(config, channels=3, classes=len(classes))
    network = latent_classifier(sizes, torch.full((3,), 128.0), torch.full((3,), 64.0))
    stem = network.get_submodule("patch_embed.proj")
    stem.first = nn.Conv2d(3, config.width, PATCH, PATCH, bias=False)
    sides = {k + 2: PATCH * Dim(name, min=1, max=window) for k, name in enumerate("hw")}
    example = {"pixels": torch.zeros(1, 3, 7 * PATCH, 5 * PATCH)}
    graph, weights = module_graph(network, "head", example, {"pixels": sides}, ("logits",))
    spec = {
        "format": 1,
        "kind": "classify",
        "name": "pixels, untrained",
        "codec": "none",
        "fingerprint": "0" * 16,
        "classes": list(classes),
        "channels": 3,
        "window": window,
        "reads": "pixels",
    }
    tensors = {name: value.astype(np.float16) for name, value in weights.items()}
    return save({"graph.0": np.frombuffer(graph, np.uint8), **tensors}, {"bifocal": json.dumps(spec)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--head", default="imagenette", help="takes over its classes and window")
    chosen = parser.parse_args()
    spec = Head.load(chosen.head).spec
    write_atomically(chosen.out, pixel_head(LatentClassifierConfig(), spec.classes, spec.window))


if __name__ == "__main__":
    main()
