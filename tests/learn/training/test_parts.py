"""A part is trained while the rest of the codec computes what it computed."""

from pathlib import Path

import pytest
import torch

from bifocal.errors import TrainingError
from bifocal.learn.nets.codec import ENTROPY_PARTS, SYNTHESIS_PARTS
from bifocal.learn.recipe import Recipe, load_recipe
from bifocal.learn.systems.lapped import Lapped, LappedConfig
from bifocal.learn.training.parts import train_part

CONFIG = LappedConfig(
    latent=8, synthesis_width=8, synthesis_blocks=1, hyper=4, features=6, context=8, anchors=3
)


@pytest.mark.parametrize(("part", "first"), [("entropy", ENTROPY_PARTS), ("synthesis", SYNTHESIS_PARTS)])
def test_only_the_part_moves(part: str, first: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = Lapped(CONFIG)
    recipe = Recipe("tiny", CONFIG, exact=True, tiled=0.5)
    objective = train_part(model, part)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        objective(model, 255 * torch.rand(2, 3, 64, 64), torch.tensor([30, 90]), recipe, 1.0).value.backward()
        optimiser.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    measured = {name for name in before if name.startswith("reconstruction")}  # of the entropy coder
    assert moved - measured and {name.split(".")[0] for name in moved - measured} <= set(first)
    assert bool(moved & measured) == (part == "entropy")


def test_other_parts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('codec = "lapped"\npart = "analysis"\n')
    with pytest.raises(TrainingError, match="entropy, synthesis"):
        load_recipe(path)
    path.write_text('codec = "lapped"\npart = "entropy"\n[activation]\n')
    with pytest.raises(TrainingError, match="alone"):
        load_recipe(path)
