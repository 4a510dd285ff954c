"""What a head shall say of each view: shares of classes, numbers of an embedding; the loss against them.

Both are rows of numbers side by side, so that pictures that are mixed mix them alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.training.soft_labels import soft_cross_entropy

#: Weight of the embedding's loss, beside that of the classes.
EMBEDDING = 2.0


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets of all views of pictures whose ``labels``, int64 ``[n]``, are of ``classes``; -1 is none.

    ``taught``, float16 ``[n, views, classes]``, is what a teacher says of them, which counts for ``share``.
    ``embedding``, float16 ``[n, views, numbers]``, has vectors of unit length.
    """

    labels: NDArray[np.int64]
    classes: int
    smoothing: float
    taught: NDArray[np.float16] | None = None
    share: float = 0.0
    embedding: NDArray[np.float16] | None = None

    def of(self, rows: NDArray[np.int64], chosen: NDArray[np.int64]) -> Tensor:
        """Of views ``chosen`` of pictures ``rows``: float32 ``[b, classes + numbers]``."""
        labels = torch.from_numpy(self.labels[rows])
        known = (labels >= 0).float()[:, None]
        target = (
            F.one_hot(labels.clamp_min(0), self.classes).float()
            if self.classes
            else torch.empty(len(rows), 0)
        )
        if self.classes:
            target = target * (1 - self.smoothing) + self.smoothing / self.classes
        if self.taught is not None:
            said = torch.from_numpy(self.taught[rows, chosen].astype(np.float32))
            target = (1 - self.share) * target + self.share * said
        target = target * known
        if self.embedding is None:
            return target
        wanted = torch.from_numpy(self.embedding[rows, chosen].astype(np.float32))
        return torch.cat([target, wanted], 1)

    def unknown(self, count: int) -> Tensor:
        """Of ``count`` views that show nothing: every class alike, and no embedding."""
        numbers = 0 if self.embedding is None else self.embedding.shape[2]
        return torch.cat(
            [torch.full((count, self.classes), 1 / max(1, self.classes)), torch.zeros(count, numbers)], 1
        )


def loss_of_answers(network: Any, y: Tensor, target: Tensor, done: float) -> Tensor:
    """The loss of a network that gives logits, an embedding, or both."""
    if not getattr(network.config, "embedding", 0):
        return soft_cross_entropy(network(y), target)
    logits, made = network.answers(y)
    classes = network.config.classes
    wanted = target[:, classes:]
    length = wanted.norm(dim=1)  # 1; less for mixed pictures, 0 where none is wanted
    near = (F.normalize(made.float(), dim=1) * wanted).sum(1)
    loss = EMBEDDING * (length - near).mean()
    return loss if logits is None else loss + soft_cross_entropy(logits, target[:, :classes])


@torch.no_grad()
def soften(network: Any, temperature: float) -> None:
    """Divide the logits of a classifier by ``temperature``, in its last layer."""
    layer: nn.Linear = getattr(network, "backbone", network).head
    layer.weight.div_(temperature)
    layer.bias.div_(temperature)
