"""Batches of crops for codecs that take captions, and for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from bifocal.errors import TrainingError
from bifocal.learn.data.crops import Corpus, numbered_crops
from bifocal.learn.nets.codec import Codec
from bifocal.learn.recipe import Recipe

#: Names of pictures to features of their captions.
Describe: TypeAlias = Callable[[Sequence[str]], Tensor]


@runtime_checkable
class Describable(Protocol):
    """A codec that takes features of captions."""

    def describe(self, features: Tensor | None) -> None: ...


def described_batches(
    model: Codec, corpus: Corpus, recipe: Recipe, seed: int, device: str, describe: Describe | None
) -> Iterator[Tensor]:
    """Batches of crops. A codec that takes captions gets the features of those of a batch just before it."""
    made = numbered_crops(corpus, size=recipe.crop, batch=recipe.batch, seed=seed, device=device)
    if describe is None:
        yield from (part for part, _ in made)
        return
    if not isinstance(model, Describable):
        raise TrainingError(f"{recipe.name} takes no captions. Leave them out, or train a selic recipe.")
    features = describe(corpus.names).to(device)
    for part, numbers in made:
        model.describe(features[numbers.to(device)])
        yield part
