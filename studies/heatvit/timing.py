"""How long an arm takes on ONNX Runtime: one graph, or segments with gathers between them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.vit import VisionTransformer
from bifocal.learn.packing.graphs import quiet
from studies.heatvit.arms import CONFIG
from studies.heatvit.data import CHANNELS, GRID, Coded

PICTURES, ROUNDS = 50, 9
THREADS = (1, 2)
Run = Callable[[Any, Any], Any]


def exported(module: nn.Module, example: tuple[Tensor, ...], tokens: bool) -> bytes:
    """One module as an ONNX graph; ``tokens`` makes the number of tokens free."""
    shapes = tuple({1: torch.export.Dim.AUTO} if tokens else {} for _ in example)
    with quiet():
        program = torch.onnx.export(module, example, dynamic_shapes=shapes, dynamo=True, verbose=False)
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def session(graph: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options)


class LogitsOnly(nn.Module):
    """A model that is one graph: latents and bits to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor, bits: Tensor) -> Tensor:
        made = self.model(y) if isinstance(self.model, VisionTransformer) else self.model(y, bits)
        return made if isinstance(made, Tensor) else made.logits


@torch.no_grad()
def graphs(model: nn.Module) -> list[bytes]:
    """A model as one graph, or as segments."""
    y, bits = torch.randn(1, CHANNELS, GRID, GRID), torch.rand(1, GRID, GRID)
    if not isinstance(model, HeatViT):
        return [exported(LogitsOnly(model).eval(), (y, bits), False)]
    first = (y, bits[:, None]) if model.config.bits else (y,)
    later = (torch.randn(1, 30, CONFIG.dim + model.config.bits),)
    return [exported(p.eval(), later if k else first, k > 0) for k, p in enumerate(model.segments())]


def runner(model: nn.Module, parts: list[bytes], threads: int) -> Run:
    """What runs one picture, ``y [1, c, h, w]`` and ``bits [1, h, w]``: a graph, or segments with gathers."""
    chain = [session(part, threads) for part in parts]
    if isinstance(model, HeatViT):
        return lambda a, b: run_chain(chain, a, b, model.config)
    names = [i.name for i in chain[0].get_inputs()]
    return lambda a, b: chain[0].run(None, dict(zip(names, (a, b), strict=False)))


def run_chain(chain: list[Any], y: Any, bits: Any, config: HeatConfig) -> Any:
    """Segments and what a runtime does between them (README.md)."""
    names = [i.name for i in chain[0].get_inputs()]
    made, packaged = chain[0].run(None, dict(zip(names, (y, bits[:, None]), strict=False))), False
    for part in chain[1:]:
        tokens, score = made[0][0], made[1][0]
        stay = score >= 0.5
        stay[0] = True
        if packaged:
            stay[-1] = False
        kept = tokens[stay]
        if config.package and not stay.all():
            weight = score[~stay]
            weight = weight if weight.sum() >= 1e-6 else np.ones_like(weight)
            kept, packaged = np.concatenate([kept, (weight @ tokens[~stay] / weight.sum())[None]]), True
        made = part.run(None, {part.get_inputs()[0].name: kept[None]})
    return made[0]


def milliseconds(runs: dict[str, Run], coded: Coded, cpu: bool) -> dict[str, float]:
    """The fastest of some rounds of each picture, then the mean; of processor time if ``cpu``.

    Arms take turns, in another order each time: other load on the machine falls on all of them.
    """
    clock, rng = time.process_time if cpu else time.perf_counter, np.random.default_rng(0)
    rows = np.arange(0, len(coded.labels), len(coded.labels) // PICTURES)
    pictures = [tuple(a[r : r + 1].astype(np.float32) for a in (coded.y, coded.bits)) for r in rows]
    best = {key: np.full(len(pictures), math.inf) for key in runs}
    for _ in range(ROUNDS):
        for k, (a, b) in enumerate(pictures):
            for key in rng.permutation(list(runs)):
                begin = clock()
                runs[key](a, b)
                best[key][k] = min(best[key][k], clock() - begin)
    return {key: float(1000 * times.mean()) for key, times in best.items()}
