"""The training loop by itself, on a network of one layer: budgets, guards, averages, going on."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bifocal
from bifocal.errors import OptionError, TrainingError
from bifocal.learn.checkpoint import read_parts
from bifocal.learn.nets.parameters import KERNELS
from bifocal.learn.training import fit as loop
from bifocal.learn.training.average import Average
from bifocal.learn.training.budget import Budget, Clock
from bifocal.learn.training.fit import MOST_SKIPPED, Job, Loss, fit
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.precision import float32
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Every, Progress, Schedule

SOURCES = Path(bifocal.__file__).parent


def batches(begin: int = 0) -> Iterator[Tensor]:
    """The same for every run; ``begin`` leaves the first ones out."""
    rng = torch.Generator().manual_seed(1)
    for number in range(10**6):
        batch = torch.randn(4, 2, 3, 3, generator=rng)
        if number >= begin:
            yield batch


def toy(folder: Path | None = None, begin: int = 0) -> Job[Tensor]:
    """A convolution by Muon and its bias by AdamW, towards the mean of its input."""
    torch.manual_seed(0)
    model = nn.Conv2d(2, 3, 3)

    def loss(x: Tensor, done: float) -> Loss:
        value = (model(x)[:, :, 0, 0] - x.mean((1, 2, 3), keepdim=True)[:, :, 0, 0]).square().mean()
        return Loss(value, value.detach()[None])

    return Job(
        model,
        batches(begin),
        loss,
        Rates(0.05, muon=(KERNELS,), muon_lr=0.05),
        Schedule(),
        average=Average.of(model, 0.9),
        precision=float32,
        folder=None if folder is None else RunFolder(folder, {"head": "toy"}, facts={"pictures": 7}),
        examples=4,
        log=lambda line: None,
    )


def weights(job: Job[Tensor]) -> list[Tensor]:
    return [p.detach().clone() for p in job.model.parameters()]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_there_is_one_training_loop() -> None:
    """Nothing else makes a step of an optimiser, but the convex fit of a teacher's last layer."""
    found = [
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "step" and "optim" in ast.unparse(node.func.value)
    ]
    assert sorted(found) == ["learn/training/classify/teacher.py", "learn/training/fit.py"]


TASKS = sorted((SOURCES / "learn/training/tasks").glob("*.py"))


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.name)
def test_a_task_is_at_most_120_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120


def test_a_run_that_goes_on_is_the_run_that_was_not_interrupted(tmp_path: Path) -> None:
    """The optimiser's state is in the checkpoint: three steps and three more are six."""
    whole = toy()
    fit(whole, Budget(steps=6))
    fit(toy(tmp_path), Budget(steps=3))
    second = toy(begin=3)
    _, parts = read_parts(tmp_path / "checkpoint.safetensors", "weights", "average", "optimiser")
    second.model.load_state_dict(parts["weights"])
    assert second.average is not None and whole.average is not None
    second.average.model.load_state_dict(parts["average"])
    second.average.updates = 3
    second.state = parts["optimiser"]
    fit(second, Budget(steps=3))
    assert equal(weights(second), weights(whole))
    assert equal(list(second.average.model.parameters()), list(whole.average.model.parameters()))


def test_without_state_or_with_another_optimiser_it_starts_anew_and_says_so() -> None:
    first, said = toy(), list[str]()
    fit(first, Budget(steps=1))
    for state, words in (({}, "no state"), ({"step.bias": torch.tensor(3.0)}, "only a part")):
        job = toy()
        job.state, job.log = state, said.append
        fit(job, Budget(steps=1))
        assert words in said.pop(0)
        assert equal(weights(job), weights(first))


def test_a_gradient_that_is_not_finite_is_left_out_and_counted() -> None:
    job = toy()
    inner = job.loss
    job.loss = lambda x, done: inner(x * (float("nan") if done == 0.25 else 1.0), done)
    made = fit(job, Budget(steps=4))
    assert made.skipped == 1 and made.step == 4
    assert all(bool(p.isfinite().all()) for p in job.model.parameters())


def test_many_such_steps_in_a_row_end_the_training() -> None:
    job = toy()
    before, inner = weights(job), job.loss
    job.loss = lambda x, done: inner(x * float("inf"), done)
    with pytest.raises(TrainingError, match=f"{MOST_SKIPPED} steps in a row .* at step {MOST_SKIPPED - 1}"):
        fit(job, Budget(steps=10 * MOST_SKIPPED))
    assert equal(weights(job), before)


def test_accumulated_batches_are_one_batch() -> None:
    one, four = toy(), toy()
    whole = torch.cat([batch for batch, _ in zip(batches(), range(4), strict=False)])
    one.batches, four.accumulate = iter([whole]), 4
    fit(one, Budget(steps=1))
    fit(four, Budget(steps=1))
    for a, b in zip(weights(one), weights(four), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_processor_minutes_end_a_training_and_validation_does_not_count() -> None:
    job, seen = toy(), list[Progress]()

    def validate(now: Progress) -> dict[str, float]:
        seen.append(now)
        sum(range(300_000))  # longer than a step
        return {}

    job.validate, job.validate_every = validate, Every(steps=1)
    made = fit(job, Budget(cpu_minutes=0.02 / 60))
    assert made.cpu_seconds >= 0.02 and made.step == len(seen)
    assert made.cpu_seconds < 1.0 and made.done == 1.0


def test_pauses_do_not_count() -> None:
    clock = Clock()
    with clock.paused():
        sum(range(2_000_000))
    assert clock.cpu_seconds < 0.01


def test_budgets_without_a_limit_are_refused_and_others_split() -> None:
    for wrong in ({}, {"minutes": -1.0}, {"minutes": float("nan")}, {"minutes": 1.0, "steps": -1}):
        with pytest.raises(OptionError, match="--cpu-minutes"):
            Budget(**wrong)  # type: ignore[arg-type]
    assert Budget(cpu_minutes=2.0, steps=3).split(0.75) == (
        Budget(cpu_minutes=1.5, steps=2),
        Budget(cpu_minutes=0.5, steps=1),
    )


def test_a_run_leaves_checkpoint_curve_validations_and_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOG", Every(steps=1))
    monkeypatch.setattr(loop, "SAVE", Every(steps=1))
    job, saved = toy(tmp_path / "run"), list[int]()
    job.phase = "only"

    def validate(now: Progress) -> dict[str, int]:
        saved.append(json.loads((tmp_path / "run" / "run.json").read_text())["steps"])
        return {"seen": now.step}

    job.validate = validate
    fit(job, Budget(steps=3))
    assert saved == [3]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["steps"] == 3 and record["crops"] == 12 and record["pictures"] == 7
    assert record["skipped"] == 0 and record["loss"] > 0 and record["cpu_minutes"] >= 0
    header, parts = read_parts(job.checkpoint, "optimiser")
    assert json.loads(header["history"]) == [record] and header["head"] == "toy"
    assert set(parts["optimiser"]) == {"velocity.weight", "step.bias", "exp_avg.bias", "exp_avg_sq.bias"}
    lines = (tmp_path / "run" / "curve.csv").read_text().splitlines()
    assert lines[0] == "seconds,phase,step,rate,crops_per_s,loss" and len(lines) == 4
    noted = json.loads((tmp_path / "run" / "validation.jsonl").read_text())
    assert noted["seen"] == noted["step"] == 3


def test_an_interrupted_run_is_saved_and_validated(tmp_path: Path) -> None:
    job, validated = toy(tmp_path), list[int]()
    inner = job.loss

    def loss(x: Tensor, done: float) -> Loss:
        if done >= 0.5:
            raise KeyboardInterrupt
        return inner(x, done)

    def validate(now: Progress) -> dict[str, float]:
        validated.append(now.step)
        return {}

    job.loss, job.validate = loss, validate
    made = fit(job, Budget(steps=4))
    assert made.stopped and made.step == 2 and validated == [2]
    assert json.loads((tmp_path / "run.json").read_text())["steps"] == 2


def test_the_time_that_was_too_short_for_the_steps_is_mentioned() -> None:
    job, said = toy(), list[str]()
    job.log = said.append
    fit(job, Budget(minutes=1e-6, steps=10**9))
    assert "of 1,000,000,000 steps" in said[-1]


def test_schedules() -> None:
    cosine = Schedule(warmup=2, cosine=True)
    assert [round(cosine.rate(step, step / 4), 3) for step in range(5)] == [0.5, 0.854, 0.5, 0.146, 0.0]
    assert Schedule(warmup=1, cooldown=0.5).rate(3, 0.25) == 1.0
