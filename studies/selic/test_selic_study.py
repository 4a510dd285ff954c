"""The arms of the study: who sees which caption, real bytes, and the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import reporting
from bifocal.learn.packing.codec import entropy_model
from bifocal.learn.systems.selic import Selic, SelicConfig
from bifocal.pictures.captions import CaptionFile
from bifocal.types import Caption
from studies.selic import run as study
from studies.selic.tables import ARMS, added_cost, table
from tests.conftest import made_picture
from tests.contract.tiny_systems import TINY

NAMES = ["a.png", "b.png", "c.png", "none.png"]
CAPTIONS = CaptionFile({name: Caption(f"the {name}") for name in NAMES[:3]})


def test_arms_differ_in_what_they_see_and_in_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "sentence_vectors", lambda texts: torch.tensor([[len(t)] for t in texts]))
    recipes = [study.recipe_of(arm, 1) for arm in ARMS]
    assert len({(r.crop, r.batch, r.lr, r.seed, r.exact, r.exact_from) for r in recipes}) == 1
    _, true = study.features_of("text", NAMES, CAPTIONS)
    _, shuffled = study.features_of("shuffled", NAMES, CAPTIONS)
    assert all(one is not other for one, other in zip(true, shuffled, strict=True))
    assert {c and c.text for c in true} == {c and c.text for c in shuffled}
    counts, _ = study.features_of("transmitted", NAMES, CAPTIONS)
    assert counts.shape == (4, study.WORDS) and counts[3].sum() == 0 and counts[0].sum() == 4


@pytest.mark.parametrize("source", ["none", "transmitted"])
def test_a_picture_is_coded_to_real_bytes_with_its_caption(source: str) -> None:
    torch.manual_seed(0)
    model = Selic(SelicConfig(**TINY["selic"] | {"source": source})).eval()
    base = entropy_model(model, "tiny", "0.5.0", ())
    pixels, features = made_picture(64, 64), torch.ones(1, 12)
    sizes = [study.code(model, base, pixels, 40, c, features)[0] for c in (Caption("a red cup"), None)]
    assert sizes[0] - sizes[1] == (21 if source == "transmitted" else 0)


def test_the_table_compares_seed_by_seed() -> None:
    points = np.array([[0.2, 28.0], [0.4, 31.0], [0.8, 34.0], [1.6, 37.0]])
    fewer = points * [0.9, 1.0]
    result = {
        "points": {
            "none-0": points.tolist(),
            "none-1": points.tolist(),
            "text-0": fewer.tolist(),
            "text-1": points.tolist(),
            "pooled-2": points.tolist(),
        },
        "steps": {"none-0": 5, "none-1": 5, "text-0": 5, "text-1": 5, "pooled-2": 5},
    }
    text = table(result)
    assert "-5.00 (-10.00 to +0.00)" in text and "branch" not in text and text.count("\n") == 3
    assert added_cost("none")[0] == 0 and added_cost("text")[0] > 50_000


def test_the_page_shows_the_results() -> None:
    shown = reporting.shown(Path(study.HERE) / "README.md", "selic")
    result = reporting.read_json(study.HERE / "results.json")
    assert shown == (table(result) if result else "No arm has been trained yet.")
