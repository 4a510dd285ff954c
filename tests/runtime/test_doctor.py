"""The doctor sees what it should: agreement, disagreement, and engines that did not run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bifocal.errors import BifocalError, ModelError
from bifocal.runtime.doctor import (
    SMALL,
    CheckResult,
    EngineCheck,
    agree,
    examine,
    made_latents,
    named_engine,
    plan_checks,
    run_check,
)
from bifocal.runtime.model import Model
from bifocal.stream.exact import ExactNet, NumpyEngine


def test_all_engines_give_the_same_hashes(tiny_model: Model) -> None:
    outcomes = {}
    for name in ("numpy-int64", "numpy-float64", "numpy-float32", "onnxruntime"):
        trial = EngineCheck(name, 1, large=name != "numpy-int64")
        outcomes[trial] = examine(trial, tiny_model.entropy, named_engine(name, tiny_model.folder, 1))
    assert agree(outcomes)
    first = next(iter(outcomes.values()))
    assert agree(outcomes, CheckResult(first.small, ""))
    assert not agree(outcomes, CheckResult("0" * 64, ""))
    assert not agree({**outcomes, EngineCheck("torch-cpu", 1): CheckResult(error="no torch")})


def test_a_wrong_engine_and_an_idle_one_are_found(tiny_model: Model) -> None:
    class Wrong(NumpyEngine):
        def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
            return super().__call__(net, x, quality) + np.int32(net.name == "predict.3")

    class Idle(NumpyEngine):
        def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
            out = super().__call__(net, x, quality)
            self.layers_run = Counter()
            return out

    trial = EngineCheck("numpy-float32", 1, large=False)
    good = examine(trial, tiny_model.entropy, NumpyEngine())
    assert examine(trial, tiny_model.entropy, Wrong()).small != good.small
    with pytest.raises(ModelError, match="times, not"):
        examine(trial, tiny_model.entropy, Idle())


def test_made_latents_are_the_same_everywhere(tiny_model: Model) -> None:
    y, z = made_latents(tiny_model.entropy, *SMALL)
    assert y.shape == (16, 8, 8) and z.shape == (4, 2, 2)
    assert (int((y * 256).astype(np.int64).sum()), int(z.sum())) == (6867, 12)
    assert np.abs(z).max() <= 8 and np.abs(y).max() < 16


def test_the_plan_has_every_engine_with_one_and_two_threads() -> None:
    planned = {(trial.engine, trial.threads) for trial in plan_checks(["torch-cpu"])}
    for engine in ("numpy-float32", "onnxruntime", "torch-cpu"):
        assert {(engine, 1), (engine, 2)} <= planned
    assert ("numpy-int64", 1) in planned


def test_a_trial_runs_in_a_process_of_its_own(tiny_folder: Path) -> None:
    outcome = run_check(EngineCheck("onnxruntime", 2, large=False), tiny_folder)
    assert outcome.error == "" and outcome.layers > 0 and len(outcome.small) == 64
    assert "no exact engine 'abacus'" in run_check(EngineCheck("abacus", 1), tiny_folder).error


def test_an_unknown_engine_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(BifocalError, match="abacus"):
        named_engine("abacus", tiny_folder, 1)
