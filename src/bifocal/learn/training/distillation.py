"""Distillation of a student codec from a frozen teacher in three phases, after FEDS (arXiv 2503.06399).

The abstract gives the phases; their losses are our reconstruction. On top of R + lambda·D the student

1. brings its features near the teacher's after every stage of both transforms: alpha times the mean over taps
   of ``|P(F_S) − F_T|² / |F_T|²``, P a 1×1 convolution that is thrown away; alpha falls over the phase;
2. brings its latents near those channels of the teacher's that carry most bits, weighed by their bits: beta
   times ``Σ w_c·|y_S,π(c) − y_T,c|² / |y_T,c|²`` over as many channels as the student has;
3. trains by R + lambda·D alone.

Errors are relative, so that taps and channels of any scale count alike. A teacher's rates by channel are
summed up in the first phase, where it runs anyway. π keeps the teacher's order of the channels it takes: both
transforms start as the same wavelet packets, coarse to fine, which is nearly the order of rate, and so no
channel of the student has to change its meaning between phases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.nets.codec import Codec
from bifocal.learn.recipe import Distillation, Recipe
from bifocal.learn.training.fit import Loss
from bifocal.learn.training.rate_distortion import weighted

#: What an energy that is divided by is at least.
LEAST_ENERGY = 1e-6


@contextlib.contextmanager
def tapped(codec: Codec, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """While open, passes of ``codec`` leave the outputs of its modules ``names`` in the dictionary."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        return lambda module, given, made: seen.__setitem__(name, made)

    with contextlib.ExitStack() as stack:
        for name in names:
            stack.callback(codec.get_submodule(name).register_forward_hook(note(name)).remove)
        yield seen


def relative_error(x: Tensor, target: Tensor, dims: tuple[int, ...]) -> Tensor:
    """``|x − target|² / |target|²``, both norms over ``dims``, in float32.

    >>> float(relative_error(torch.tensor([3.0, 2.0]), torch.tensor([2.0, 1.0]), (0,)))
    0.4000000059604645
    """
    x, target = x.float(), target.float()
    return (x - target).square().sum(dims) / target.square().sum(dims).clamp_min(LEAST_ENERGY)


class Lesson:
    """The objective of a student, for one run: an
    :class:`~bifocal.learn.training.rate_distortion.Objective`.

    ``projections`` is what it learns beside the student.

    :raises TrainingError: if teacher and student cannot be compared.
    """

    def __init__(self, teacher: Codec, student: Codec, phases: Distillation) -> None:
        lambdas = [(c.config.lambda_min, c.config.lambda_max) for c in (teacher, student)]
        if lambdas[0] != lambdas[1]:
            raise TrainingError(
                f"The teacher's lambdas are {lambdas[0]}, the student's {lambdas[1]}: a quality would not "
                "mean the same. Give both the same in their recipes."
            )
        if teacher.plan.y_channels < student.plan.y_channels:
            raise TrainingError(
                f"A teacher of {teacher.plan.y_channels} latent channels cannot teach a student of "
                f"{student.plan.y_channels}. Take a larger teacher."
            )
        self.teacher, self.phases = teacher.eval().requires_grad_(False), phases
        self.taps: tuple[str, ...] = getattr(student.config, "taps", ())
        if not self.taps or self.taps != getattr(teacher.config, "taps", ()):
            raise TrainingError(
                f"{type(teacher).__name__} and {type(student).__name__} as configured have not the same "
                "stages to compare. Teacher and student are codecs of one design, such as feds."
            )
        wanted, given = _tap_channels(teacher, self.taps), _tap_channels(student, self.taps)
        self.projections = nn.ModuleDict({_key(n): _projection(given[n], wanted[n]) for n in self.taps})
        #: Sum of the mean bits of each channel of the teacher over the batches it has seen.
        self.rates = torch.zeros(teacher.plan.y_channels)
        self._chosen: tuple[Tensor, Tensor] | None = None

    def to(self, device: str) -> Lesson:
        self.teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.projections.to(device)
        self.rates = self.rates.to(device)
        return self

    def __call__(self, model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float) -> Loss:
        p, exact = self.phases, recipe.exact and done >= recipe.exact_from
        with tapped(model, (*self.taps, "analysis")) as seen:
            coded = model(pixels, quality, exact=exact, noise=True)
        loss, figures = weighted(coded, pixels, quality, recipe)
        if done < p.features:
            share = done / p.features
            alpha = p.alpha + (p.alpha_last - p.alpha) * share
            return Loss(loss + alpha * self.feature_error(seen, pixels, quality), figures)
        if done < p.features + p.channels:
            return Loss(loss + p.beta * self.channel_error(seen["analysis"], pixels), figures)
        return Loss(loss, figures)

    def feature_error(self, seen: dict[str, Tensor], pixels: Tensor, quality: Tensor) -> Tensor:
        """Mean over taps of the relative error of the student's features ``seen``; counts the rates too."""
        with torch.no_grad(), tapped(self.teacher, self.taps) as wanted:
            coded = self.teacher(pixels, quality, exact=False, noise=False)
            self.rates += coded.channel_bits.mean(0)
        errors = [
            relative_error(self.projections[_key(n)](seen[n]), wanted[n], (0, 1, 2, 3)) for n in self.taps
        ]
        return torch.stack(errors).mean()

    def channel_error(self, y: Tensor, pixels: Tensor) -> Tensor:
        """Relative error of the student's latents ``y [b, c, h, w]``, weighed by the teacher's bits."""
        if self._chosen is None:
            self._chosen = chosen_channels(self.rates, y.shape[1])
        order, weights = self._chosen
        with torch.no_grad():
            target = self.teacher.analyse(pixels)[:, order]
        return (weights * relative_error(y, target, (0, 2, 3))).sum()


def chosen_channels(rates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Those ``count`` channels that cost most bits, in the order they stand in, and their shares of the bits.

    >>> chosen_channels(torch.tensor([1.0, 5.0, 0.0, 3.0]), 2)
    (tensor([1, 3]), tensor([0.6250, 0.3750]))
    """
    order = rates.topk(count).indices.sort().values
    return order, rates[order] / rates[order].sum().clamp_min(LEAST_ENERGY)


def _tap_channels(codec: Codec, taps: tuple[str, ...]) -> dict[str, int]:
    with torch.no_grad(), tapped(codec, taps) as seen:
        codec.synthesise(codec.analyse(torch.zeros(1, 3, 64, 64)))
    return {name: x.shape[1] for name, x in seen.items()}


def _key(name: str) -> str:
    return name.replace(".", "_")  # names in a ModuleDict hold no dots


def _projection(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1×1 convolution that passes what it can to the same channel: both sides start as the same packets."""
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.dirac_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
