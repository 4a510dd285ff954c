"""Four-bit fine-tuning of a classification head on a CPU: the shipped head's convolutions, new last layer.

    python -m studies.lowbit.head --data IMAGENETTE [--train 40] [--test 30] [--steps 60] [--docs]

Latents are those of real streams at quality 60: the first pictures of each class in ``train`` and ``val``.
The head's convolutions are taken over as by `bifocal-train head --start imagenette` (which was trained on the
same ``train`` folder). Everything is then fine-tuned for equal batches: in float, in 4 bits with one scale,
and in 4 bits with four group scales. Seconds are of the processor.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.learn.data.labelled import find_labelled, read_rgb
from bifocal.learn.lowbit import Policy, convert
from bifocal.learn.nets.heads.latent_stem import LatentResNet, LatentResNetConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify.start import take_over
from bifocal.learn.training.fit import Job, Loss, fit
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.precision import float32
from bifocal.learn.training.schedule import Every, Schedule
from bifocal.measure.tables import markdown
from bifocal.runtime.heads.windows import read_latents

QUALITY, CHANNELS, BATCH = 60, 64, 64
ARMS: dict[str, Policy | None] = {
    "float": None,
    "4 bits, one scale": Policy(4, 4, groups=1, norm=2),
    "4 bits, 4 groups": Policy(4, 4, groups=4, norm=2),
}
Latents = tuple[Tensor, Tensor]


def latents(folder: Path, count: int, model: bifocal.Model) -> Latents:
    """Latents ``[n, 64, h, w]`` and labels of the first ``count`` pictures of each class, from streams."""
    found = find_labelled(folder)
    y, labels = [], []
    for label in range(len(found.classes)):
        for row in np.flatnonzero(found.labels == label)[:count]:
            pixels = read_rgb(found.files[int(row)])
            if pixels is not None:
                y.append(read_latents(bifocal.encode(pixels, QUALITY, model=model), model, CHANNELS).y)
                labels.append(label)
    return torch.from_numpy(np.stack(y)).float(), torch.tensor(labels)


def batches(data: Latents, seed: int) -> Iterator[Latents]:
    """Endless random batches, mirrored as they are."""
    rng = torch.Generator().manual_seed(seed)
    while True:
        rows = torch.randint(len(data[1]), (BATCH,), generator=rng)
        yield data[0][rows], data[1][rows]


def fine_tuned(policy: Policy | None, data: Latents, test: Latents, steps: int, model: Any) -> dict[str, Any]:
    """Share of ``test`` that is right after so many batches, and processor seconds of the training."""
    torch.manual_seed(0)
    spread = data[0].mean((0, 2, 3)), data[0].std((0, 2, 3))
    network = LatentResNet(LatentResNetConfig(), *spread)
    take_over(network, "imagenette", model, data[0])
    tuned = network if policy is None else convert(network, policy)

    def loss(batch: Latents, done: float) -> Loss:
        value = F.cross_entropy(tuned(batch[0]), batch[1])
        return Loss(value, value.detach()[None])

    begun = time.process_time()
    job = Job(
        *(tuned.train(), batches(data, 0), loss, Rates(5e-4, 0.05), Schedule(10, cosine=True)),
        precision=float32,
        log_every=Every(),
    )
    fit(job, Budget(steps=steps))
    spent = time.process_time() - begun
    with torch.no_grad():
        right = float((tuned.eval()(test[0]).argmax(1) == test[1]).float().mean())
    return {"right": right, "processor_seconds": round(spent, 1)}


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row for each arm."""
    rows = [[arm, f"{row['right']:.1%}", f"{row['processor_seconds']:.1f}"] for arm, row in found.items()]
    return markdown(["fine-tuned in", "right", "processor s"], rows)


def main() -> None:
    """Code the pictures, fine-tune all arms."""
    parser = reporting.parser(__doc__ or "", Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder with train and val")
    parser.add_argument("--train", type=int, default=40, help="pictures a class (default: %(default)s)")
    parser.add_argument("--test", type=int, default=30, help="pictures a class (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="batches of 64 (default: %(default)s)")
    given = parser.parse_args()
    model = bifocal.Model.load(DEFAULT_MODEL, threads=1)
    data = latents(given.data / "train", given.train, model)
    test = latents(given.data / "val", given.test, model)
    found = {arm: fine_tuned(policy, data, test, given.steps, model) for arm, policy in ARMS.items()}
    text = (
        f"{len(data[1])} pictures to train on, {len(test[1])} to judge by, {given.steps} batches of {BATCH}, "
        f"seed 0.\n\n{table(found)}"
    )
    reporting.publish(given, "lowbit-head", text, {"arms": found, "text": text}, file="head")


if __name__ == "__main__":
    reporting.run(main)
