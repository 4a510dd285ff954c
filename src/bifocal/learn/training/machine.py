"""Where a training runs: the device, and how many threads of the processor."""

from __future__ import annotations

import torch


def prepare(device: str = "", threads: int = 0) -> str:
    """The device to train on, ``cuda`` if there is one unless another is named; 0 threads: torch chooses."""
    if threads:
        torch.set_num_threads(threads)
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
