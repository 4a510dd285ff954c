"""What numbers a step computes with: a context around the loss, by the type of device."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from bifocal.errors import TrainingError

#: Type of device ("cpu", "cuda") -> the context in which a loss is computed.
Precision = Callable[[str], AbstractContextManager[object]]


def bfloat16(device: str) -> AbstractContextManager[object]:
    """Products in bfloat16, sums and what is sensitive in float32: torch's autocast."""
    return torch.autocast(device, dtype=torch.bfloat16)


def fastest(device: str) -> AbstractContextManager[object]:
    """Bfloat16, or float32 on a processor whose convolutions are no faster in bfloat16: tried once.

    Of two processors with instructions for bfloat16, one was 1.6 times as fast with them, the other slower.
    """
    return bfloat16(device) if device != "cpu" or _bfloat16_pays() else float32(device)


@lru_cache(maxsize=1)
def _bfloat16_pays() -> bool:
    """Whether a 3×3 convolution as of the codecs is faster in bfloat16, forward and backward."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        x = torch.ones(8, 128, 16, 16, dtype=kind, requires_grad=True)
        weight = torch.ones(128, 128, 3, 3, dtype=kind, requires_grad=True)
        times = []
        for _ in range(4):
            begun = time.process_time()
            torch.conv2d(x, weight, padding=1).sum().backward()
            times.append(time.process_time() - begun)
        seconds[kind] = min(times)
    return seconds[torch.bfloat16] < seconds[torch.float32]


def float32(device: str) -> AbstractContextManager[object]:
    """Everything as it is."""
    return nullcontext()


def late_float32(done: float, start: float, x: Tensor) -> AbstractContextManager[object]:
    """Float32 on the device of ``x`` once ``done`` (0..1) of a run has reached ``start``; before, no change.

    Networks that learn in bfloat16 lose a tenth of a decibel at the highest qualities, where their own
    rounding is not small beside the errors that are left; the end of a run in float32 brings it back.
    """
    return torch.autocast(x.device.type, enabled=False) if done >= start else nullcontext()


#: What a recipe may name.
PRECISIONS: dict[str, Precision] = {"bfloat16": bfloat16, "float32": float32, "fastest": fastest}


def find_precision(name: str) -> Precision:
    """The precision called ``name``.

    :raises TrainingError: if there is none.
    """
    if name not in PRECISIONS:
        raise TrainingError(f"there is no precision {name!r}. Known are {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]
