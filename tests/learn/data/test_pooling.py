"""Pooling in training is that of the runtime."""

from __future__ import annotations

import numpy as np
import torch

from bifocal.learn.data.pooling import pooled_to
from bifocal.runtime.heads.pooling import pooled


def test_training_pools_as_the_runtime_does() -> None:
    y = np.random.default_rng(0).normal(size=(2, 3, 16, 23)).astype(np.float32)
    made = pooled_to(torch.from_numpy(y), 8).numpy()
    np.testing.assert_allclose(made, pooled(y, 256, 368, 16, 8), atol=1e-5)
    both = pooled_to(torch.from_numpy(y), 8, magnitudes=True).numpy()
    np.testing.assert_allclose(both[:, 3:], pooled(np.abs(y), 256, 368, 16, 8), atol=1e-5)
