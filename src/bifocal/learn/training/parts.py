"""Training a part of a codec while the rest stays: a step is several times cheaper.

``entropy``: the networks that predict symbols. Latents stay what they are, and heads that read them as good
as they are; the loss is the rate, and no picture is synthesised. ``synthesis``: the networks that make pixels
from latents. Streams stay as they are; the loss is that of the whole codec, whose rate is then a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bifocal.learn.nets.activations import ActivationBits, stored_outputs
from bifocal.learn.nets.codec import ENTROPY_PARTS, SYNTHESIS_PARTS, Codec, Coded
from bifocal.learn.recipe import Recipe
from bifocal.learn.training.fit import Loss
from bifocal.learn.training.rate_distortion import Objective, Pass, loss_weight, weighted, with_activations

#: Parts, and what each of them trains, by the first name of a parameter.
TRAINED = {"entropy": ENTROPY_PARTS, "synthesis": SYNTHESIS_PARTS}


def own_objective(recipe: Recipe, model: Codec) -> tuple[Objective, nn.Module | None] | None:
    """What a recipe for a part of the codec, or for small activations, minimises, and learns beside it."""
    if recipe.part:
        return train_part(model, recipe.part), None
    if recipe.activation:
        stored = stored_outputs(model, without=getattr(model, "hyper_analysis", None))
        bits = ActivationBits(stored, recipe.activation.coder)
        return with_activations(bits), bits
    return None


def train_part(model: Codec, part: str) -> Objective:
    """Freeze all of ``model`` but ``part``, one of :data:`TRAINED`; the objective that trains it."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in TRAINED[part])
    return {"entropy": rate_alone, "synthesis": distortion_alone}[part]


def rate_alone(model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float = 0.0) -> Loss:
    """Mean over the batch of ``weight·bpp``; PSNR, which is not computed, is logged as 0."""
    how = Pass.of(recipe, done)
    _, bits, _ = model.code(pixels, quality, exact=how.exact, noise=True, tiles=how.tiles)
    bpp = bits / (pixels.shape[2] * pixels.shape[3])
    loss = (bpp * loss_weight(recipe, quality)).mean()
    return Loss(loss, torch.stack([loss.detach(), bpp.detach().mean(), torch.zeros(())]))


def distortion_alone(
    model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float = 0.0
) -> Loss:
    """The loss of the whole codec on latents that carry no gradient, and whose tables are not measured."""
    how = Pass.of(recipe, done)
    with torch.no_grad():
        y_hat, bits, channel_bits = model.code(pixels, quality, exact=how.exact, noise=True, tiles=how.tiles)
    small = tuple(x.float() for x in model.synthesise_small(y_hat))
    coded = Coded(model.synthesise(y_hat).float(), bits, small, y_hat, channel_bits)
    return weighted(coded, pixels, quality, recipe)
