"""What numbers a step computes with, early and late in a run."""

from __future__ import annotations

import pytest
import torch

from bifocal.learn.training.precision import bfloat16, late_float32


@pytest.mark.parametrize(
    ("done", "kind"), [(0.0, torch.bfloat16), (0.6, torch.float32), (1.0, torch.float32)]
)
def test_the_end_of_a_run_is_float32(done: float, kind: torch.dtype) -> None:
    x = torch.ones(2, 2)
    with bfloat16("cpu"), late_float32(done, 0.6, x):
        assert (x @ x).dtype == kind
