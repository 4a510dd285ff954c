"""Groups of parameters that learn alike, named by the networks that own them.

A network says what its parameters are, a training task what it does with each group (learning rate, weight
decay, AdamW or Muon: ``learn/training/optimisers.py``). So no task has to know the names inside a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

#: The names of groups: convolution kernels, matrices of transformer blocks, token selectors, linear paths
#: that start as a good transform, everything else.
KERNELS, MATRICES, SELECTORS, LINEAR, REST = "kernels", "matrices", "selectors", "linear", "rest"
#: Selectors start from nothing while the rest is trained: their learning rate is so many times higher.
SELECTOR_SCALE = 10.0
#: Linear paths that start as a transform are only refined: at the full rate runs diverge.
LINEAR_SCALE = 0.1


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters by their names in the network; ``scale`` multiplies the learning rate of the task."""

    name: str
    scale: float = 1.0
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)


def grouped(
    network: nn.Module,
    *,
    matrices: Iterable[nn.Module] = (),
    selectors: Iterable[nn.Module] = (),
    linear: Iterable[nn.Module] = (),
    plain: Iterable[nn.Module] = (),
) -> tuple[ParameterGroup, ...]:
    """The parameters of ``network`` in groups, those that have any.

    Four-dimensional ones are kernels, two-dimensional ones inside ``matrices`` are matrices. Everything
    inside ``selectors`` or ``linear`` is theirs, and everything inside ``plain`` (last layers, say) belongs
    to the rest.

    >>> [group.name for group in grouped(nn.Conv2d(3, 4, 3))]
    ['rest', 'kernels']
    """
    owners = {REST: plain, SELECTORS: selectors, LINEAR: linear, MATRICES: matrices}
    inside = {
        name: {id(p) for module in modules for p in module.parameters()} for name, modules in owners.items()
    }
    found = {
        name: ParameterGroup(name, {SELECTORS: SELECTOR_SCALE, LINEAR: LINEAR_SCALE}.get(name, 1.0))
        for name in (REST, SELECTORS, LINEAR, KERNELS, MATRICES)
    }
    for name, p in network.named_parameters():
        if id(p) in inside[SELECTORS]:
            kind = SELECTORS
        elif id(p) in inside[LINEAR]:
            kind = LINEAR
        elif id(p) in inside[REST]:
            kind = REST
        elif p.ndim == 4:
            kind = KERNELS
        else:
            kind = MATRICES if p.ndim == 2 and id(p) in inside[MATRICES] else REST
        found[kind].parameters[name] = p
    return tuple(group for group in found.values() if group.parameters)


def parameter_groups(network: nn.Module) -> tuple[ParameterGroup, ...]:
    """The groups that ``network`` names by its method ``parameter_groups``; by dimensions if it has none."""
    own = getattr(network, "parameter_groups", None)
    groups: tuple[ParameterGroup, ...] = own() if own is not None else grouped(network)
    return groups
