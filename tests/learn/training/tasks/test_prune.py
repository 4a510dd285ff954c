"""Training of pruned transformers: losses that hold their targets, and stages inserted from the last on."""

import copy
import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from bifocal.learn.training.pruning.latency import (
    LatencyTable,
    block_tokens,
    latency,
    measure_latency,
    modelled_latency,
)
from bifocal.learn.training.pruning.objective import Batch, calibrate, pruning_objective
from bifocal.learn.training.pruning.stages import Stage, search_stages
from bifocal.learn.training.tasks.prune import train_pruned

TABLE = LatencyTable((1, 10, 18), (0.1, 1.0, 2.0), "ms")


def vit(depth: int = 3) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        nn.Conv2d(3, 16, 4, 4), VitConfig(dim=16, depth=depth, heads=2, grid=4, classes=2)
    )


def toy() -> Iterator[Batch]:
    """Which colour has the only bright place? The other places say nothing."""
    rng = torch.Generator().manual_seed(0)
    while True:
        label = torch.randint(0, 2, (32,), generator=rng)
        row, column = torch.randint(0, 4, (2, 32), generator=rng)
        x = 0.1 * torch.randn(32, 3, 16, 16, generator=rng)
        for i in range(32):
            x[i, label[i], 4 * row[i] : 4 * row[i] + 4, 4 * column[i] : 4 * column[i] + 4] += 2
        yield Batch(x, torch.zeros(32, 4, 4), F.one_hot(label, 2).float())


def test_latency_is_linear_between_entries_and_differentiable() -> None:
    n = torch.tensor([1.0, 5.5, 14.0, 18.0], requires_grad=True)
    cost = TABLE.at(n)
    assert torch.allclose(cost, torch.tensor([0.1, 0.55, 1.5, 2.0]))
    cost.sum().backward()
    assert torch.allclose(n.grad, torch.tensor([0.1, 0.1, 0.125, 0.125]))
    assert "| 0.56 | 10 | 1 |" in TABLE.markdown()


def test_tokens_of_blocks() -> None:
    assert block_tokens((1, 3), (0.5, 0.25), 4, 16, True) == [17, 10.0, 10.0, 6.0]
    assert block_tokens((0,), (0.5,), 2, 16, False) == [9.0, 9.0]
    assert float(latency(TABLE, [10, 10.0, 14])) == pytest.approx(3.5)


def test_measured_and_modelled_tables() -> None:
    measured = measure_latency(vit().blocks[0], 16, (17, 5, 9), repeats=2)
    assert measured.tokens == (5, 9, 17) and all(c > 0 for c in measured.cost) and measured.unit == "ms"
    modelled = modelled_latency(192, 768, 3, (32, 64, 128, 197))
    assert list(modelled.cost) == sorted(modelled.cost) and "modelled" in modelled.unit
    assert 3 < modelled.cost[3] / modelled.cost[0] < 12, "about in proportion to the tokens"


def test_training_prunes_and_still_solves_the_task() -> None:
    """Rates are a pull, never a promise: what is asserted is what is realised at inference."""
    dense = train_pruned(
        vit(), toy(), lambda m, b, _: F.cross_entropy(m(b.inputs), b.targets), steps=60, lr=3e-3, average=0.9
    )
    model = HeatViT(copy.deepcopy(dense).requires_grad_(True), HeatConfig(before=(1, 2)))
    objective = pruning_objective((0.6, 0.3), TABLE, teacher=dense)
    trained = train_pruned(model, toy(), objective, steps=60, lr=5e-3, average=0.9)
    batch = next(itertools.islice(toy(), 3, None))
    with torch.no_grad():
        made = trained(batch.inputs)
    rates = [float(k.mean()) for k in made.keep]
    assert rates[1] <= rates[0]
    assert rates[1] < 0.7
    assert float((made.logits.argmax(1) == batch.targets.argmax(1)).float().mean()) > 0.9


def test_calibration_meets_the_rates() -> None:
    model = HeatViT(vit(), HeatConfig(before=(1, 2)))
    for p in model.parameters():
        p.data += 0.2 * torch.randn_like(p)
    x = torch.randn(20, 3, 16, 16)
    calibrate(model, x, None, (0.6, 0.3))
    with torch.no_grad():
        rates = [float(k.mean()) for k in model.eval()(x).keep]
    assert abs(rates[0] - 0.6) < 0.05 and abs(rates[1] - 0.3) < 0.05


class _Recorder:
    """Stands for training and evaluation: accuracy falls with what is pruned, more so at early blocks."""

    def __init__(self) -> None:
        self.calls: list[list[Stage]] = []

    def train(self, model: HeatViT, stages: list[Stage]) -> None:
        assert [s.block for s in stages] == sorted(model.config.before)
        self.calls.append(stages)

    def accuracy(self, model: HeatViT) -> float:
        if not self.calls:
            return 0.9
        return (
            0.9 if all(s.rate >= {1: 0.88, 3: 0.5, 4: 0.48, 5: 0.2}[s.block] for s in self.calls[-1]) else 0.8
        )


def test_stages_are_inserted_from_the_last_and_useless_ones_dropped() -> None:
    model, recorder = HeatViT(vit(6), HeatConfig(before=())), _Recorder()
    found = search_stages(
        model,
        (1, 3, 4, 5),
        (0.9, 0.7, 0.5, 0.48, 0.2),
        train=recorder.train,
        accuracy=recorder.accuracy,
    )
    assert [calls[0].block for calls in recorder.calls] == sorted(
        (c[0].block for c in recorder.calls), reverse=True
    )
    assert found == [Stage(3, 0.5), Stage(5, 0.2)], "1 keeps too much, 4 is like 3"
    assert model.config.before == (3, 5) and set(model.selectors) == {"3", "5"}


def test_a_model_that_cannot_be_pruned_stays_as_it_was() -> None:
    model, recorder = HeatViT(vit(3), HeatConfig(before=())), _Recorder()
    weights = copy.deepcopy(model.state_dict())

    def spoil(model: HeatViT, stages: list[Stage]) -> None:
        recorder.calls.append(stages)
        for p in model.parameters():
            p.data += 1

    found = search_stages(
        model, (2,), (0.7, 0.5), train=spoil, accuracy=lambda m: 0.5 if recorder.calls else 0.9
    )
    assert found == [] and model.config.before == ()
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
