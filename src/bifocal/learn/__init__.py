"""The torch wing of Bifocal: codecs and heads of your own, trained and packed. Needs the ``train`` extra.

A codec that is registered trains, packs and codes files like the shipped ones::

    from pathlib import Path

    from bifocal import learn

    recipe = learn.load_recipe(Path("recipes/lapped.toml"))
    job = learn.codec_job(recipe, Path("PICTURES"), Path("runs/mine"))
    learn.fit(job, learn.Budget(minutes=60))
    checkpoint = learn.load_checkpoint(job.checkpoint)
    learn.pack(checkpoint, Path("my-model"), name="mine", version="0.0.0")

``bifocal.encode_file("photo.jpg", "photo.bfc", model="my-model")`` then needs no torch.
``examples/my_codec.py`` writes and registers a codec; ``Job`` is what a training task of your own gives to
``fit``. All that ``__all__`` names is public; importing this module alone loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bifocal.learn.checkpoint import load_checkpoint
    from bifocal.learn.nets.codec import Codec
    from bifocal.learn.packing.codec import pack, table_pictures
    from bifocal.learn.recipe import Recipe, load_recipe
    from bifocal.learn.systems.registry import register
    from bifocal.learn.training.budget import Budget
    from bifocal.learn.training.classify.run import train_head
    from bifocal.learn.training.fit import Job, Loss, fit
    from bifocal.learn.training.tasks.codec import codec_job
    from bifocal.stream.plan import Group, Plan

__all__ = [
    "Budget",
    "Codec",
    "Group",
    "Job",
    "Loss",
    "Plan",
    "Recipe",
    "codec_job",
    "fit",
    "load_checkpoint",
    "load_recipe",
    "pack",
    "register",
    "table_pictures",
    "train_head",
]

_HOMES = {
    "Budget": "bifocal.learn.training.budget",
    "Codec": "bifocal.learn.nets.codec",
    "Group": "bifocal.stream.plan",
    "Job": "bifocal.learn.training.fit",
    "Loss": "bifocal.learn.training.fit",
    "Plan": "bifocal.stream.plan",
    "Recipe": "bifocal.learn.recipe",
    "codec_job": "bifocal.learn.training.tasks.codec",
    "fit": "bifocal.learn.training.fit",
    "load_checkpoint": "bifocal.learn.checkpoint",
    "load_recipe": "bifocal.learn.recipe",
    "pack": "bifocal.learn.packing.codec",
    "register": "bifocal.learn.systems.registry",
    "table_pictures": "bifocal.learn.packing.codec",
    "train_head": "bifocal.learn.training.classify.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bifocal.learn' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value  # the next look-up finds it at once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
