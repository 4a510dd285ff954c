"""Watch a decoder: record the outputs of the exact networks, and rebuild every coded symbol from them.

Uses the public parts of the stream only, so what it finds is what any decoder finds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bifocal.measure import MeasureError
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine, ExactNet
from bifocal.stream.plan import group_mask
from bifocal.types import Latents


class Recorder:
    """A backend that calls another one and keeps every call: (network, input, output) in order."""

    def __init__(self, backend: ExactEngine) -> None:
        self.name = backend.name
        self.calls: list[tuple[ExactNet, NDArray[np.int32], NDArray[np.int32]]] = []
        self.layers_run: Counter[str] = backend.layers_run
        self._backend = backend

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        y = self._backend(net, x, quality)
        self.calls.append((net, x.copy(), y))
        return y


@dataclass(frozen=True)
class Symbols:
    """Coded symbols of one step, and the table of each, ``[n]`` both; ``skipped`` cost nothing."""

    step: str
    values: NDArray[np.int64]
    index: NDArray[np.int64]
    skipped: int


def symbols_of(latents: Latents, model: EntropyModel, recorder: Recorder) -> list[Symbols]:
    """Every symbol of a stream of one tile, from its decoded latents and the record of decoding it."""
    plan = model.plan
    z = latents.z.astype(np.int64)
    index = np.broadcast_to(model.z_index[latents.quality - 1][:, None, None], z.shape)
    steps = [Symbols("z", z.ravel(), index.ravel().astype(np.int64), 0)]
    outputs = {net.name: y for net, _, y in recorder.calls}
    if len(recorder.calls) != len(outputs):
        raise MeasureError("The stream has more than one tile. Use a smaller picture.")
    for k, group in enumerate(plan.groups):
        out = outputs[f"predict.{k}"].astype(np.int64)
        where = group_mask(group, *out.shape[1:])
        mu = out[: group.channels][where]
        table = np.clip(out[group.channels :], 0, model.tables.count - 1)[where]
        y = latents.y[group.start : group.stop][where].astype(np.int64)
        q, remainder = np.divmod(y - mu, 1 << plan.fraction)
        coded = table >= plan.skip
        if remainder.any() or q[~coded].any():
            raise MeasureError(f"Group {k} of the latents differs from what its symbols give.")
        steps.append(Symbols(f"group {k}", q[coded], table[coded], int((~coded).sum())))
    return steps
