"""Search spaces and their subnets: what is read, refused, drawn, mutated and crossed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.search.space import SearchSpace, as_subnet, load_space

SHIPPED = sorted((Path(__file__).parents[3] / "src/bifocal/learn/recipes").glob("space-*.toml"))
SPACE = SearchSpace("s", (16, 24), (1, 2, 3), (1, 2), (2, 3), (0.0, 0.5, 1.0), head_dim=8)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces_load(path: Path) -> None:
    space = load_space(path)
    assert load_space(Path(path.name.removeprefix("space-"))).digest == space.digest
    for subnet in (space.largest, space.smallest):
        space.check(subnet)


def test_drawn_mutated_and_crossed_subnets_are_of_the_space() -> None:
    rng = np.random.default_rng(0)
    parents = [SPACE.sample(rng) for _ in range(20)]
    assert {parent.depth for parent in parents} == {1, 2, 3}
    for first, second in zip(parents, parents[1:], strict=False):
        for child in (SPACE.mutate(first, rng, 0.5, 0.5), SPACE.cross(first, second, rng)):
            SPACE.check(child)
    same = SPACE.mutate(parents[0], rng, 0.0, 0.0)
    assert same == parents[0]
    child = SPACE.cross(SPACE.largest, SPACE.smallest, rng)
    assert child.dim in (16, 24) and set(child.heads) <= {1, 2}


def test_a_subnet_survives_its_key() -> None:
    import json

    subnet = SPACE.sample(np.random.default_rng(3))
    assert as_subnet(json.loads(subnet.key)) == subnet


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dim = [16]", "Shipped|missing|has"),
        ('dim = ["a"]\ndepth = [1]\nheads = [1]\nmlp = [2]', "'<' not supported|space"),
        ("dim = [12]\ndepth = [1]\nheads = [1]\nmlp = [2]", "multiples of 8"),
        ("dim = [24, 16]\ndepth = [1]\nheads = [1]\nmlp = [2]", "rising order"),
        ("dim = [16]\ndepth = [0]\nheads = [1]\nmlp = [2]", "depth has 0"),
        ("dim = [16]\ndepth = [1]\nheads = [1]\nmlp = [2]\neight = [0, 2]", "shares of rows"),
        ("dim = [16]\ndepth = [1]\nheads = [1]\nmlp = [2]\nwidth = 3", "does not know width"),
        ("dim = [16", "not valid TOML"),
    ],
)
def test_impossible_spaces_are_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=says):
        load_space(path)


def test_a_missing_space_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"space-tiny\.toml"):
        load_space(tmp_path / "none.toml")


def test_a_subnet_of_another_space_is_refused_by_its_gene() -> None:
    for change, says in (({"dim": 32}, "dim"), ({"heads": [5]}, "heads"), ({"eight": [[0.0]]}, "entries")):
        table = {"dim": 16, "depth": 1, "heads": [1], "mlp": [2], "eight": [[0.0] * 4], **change}
        with pytest.raises(OptionError, match=says):
            SPACE.check(as_subnet(table))
    with pytest.raises(OptionError, match="lacks"):
        as_subnet({"dim": 16})
