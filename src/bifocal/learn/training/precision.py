"""What numbers a step computes with: a context around the loss, by the type of device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

#: Type of device ("cpu", "cuda") -> the context in which a loss is computed.
Precision = Callable[[str], AbstractContextManager[object]]


def bfloat16(device: str) -> AbstractContextManager[object]:
    """Products in bfloat16, sums and what is sensitive in float32: torch's autocast."""
    return torch.autocast(device, dtype=torch.bfloat16)


def float32(device: str) -> AbstractContextManager[object]:
    """Everything as it is."""
    return nullcontext()
