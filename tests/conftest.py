"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bifocal.runtime.model import Model
from tests.tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a packed model that needs no training."""
    return build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> Model:
    return Model.load(tiny_folder, threads=1)


def made_picture(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture with some texture, uint8 ``[h, w, 3]``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 40.0
    waves = [np.sin(rows * a + columns * b + c) for a, b, c in rng.uniform(-2, 2, (3, 3))]
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(127 + 90 * np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)
