"""The systems by name: what recipes and checkpoints call them. A new system adds its line here, or calls
:func:`register` from its own package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bifocal.errors import TrainingError
from bifocal.learn.nets.codec import Codec, CodecConfig
from bifocal.learn.systems.dual import Dual, DualConfig
from bifocal.learn.systems.feds import Feds, FedsConfig
from bifocal.learn.systems.joint import Joint, JointConfig
from bifocal.learn.systems.lapped import Lapped, LappedConfig
from bifocal.learn.systems.lowfirst import LowFirst, LowFirstConfig
from bifocal.learn.systems.selic import Selic, SelicConfig
from bifocal.learn.systems.weconvene import WeConvene, WeConveneConfig
from bifocal.learn.systems.weconvene3d import WeConvene3D, WeConvene3DConfig


@dataclass(frozen=True)
class System:
    """A name, the class of its configurations and what makes the codec of one."""

    name: str
    config: Callable[..., CodecConfig]
    codec: Callable[[Any], Codec]


SYSTEMS: dict[str, System] = {}


def register(name: str, config: Callable[..., CodecConfig], codec: Callable[[Any], Codec]) -> System:
    """Make a system known by ``name`` to recipes and checkpoints; return it.

    :raises TrainingError: if another system has that name.
    """
    system = System(name, config, codec)
    if SYSTEMS.setdefault(name, system) != system:
        raise TrainingError(f"there is a system called {name} already. Choose another name.")
    return system


def find_system(name: str) -> System:
    """The system called ``name``.

    :raises TrainingError: if there is none.

    >>> find_system("lowfirst").config().plan.y_channels
    256
    """
    if name not in SYSTEMS:
        raise TrainingError(f"there is no codec {name!r}. Known are {', '.join(sorted(SYSTEMS))}.")
    return SYSTEMS[name]


def system_of(config: CodecConfig) -> System:
    """The system that a configuration belongs to.

    :raises TrainingError: if it is of none.
    """
    for system in SYSTEMS.values():
        if isinstance(system.config, type) and type(config) is system.config:
            return system
    raise TrainingError(f"{type(config).__name__} is not the configuration of a registered system.")


register("lapped", LappedConfig, Lapped)
register("lowfirst", LowFirstConfig, LowFirst)
register("joint", JointConfig, Joint)
register("weconvene", WeConveneConfig, WeConvene)
register("weconvene3d", WeConvene3DConfig, WeConvene3D)
register("dual", DualConfig, Dual)
register("feds", FedsConfig, Feds)
register("selic", SelicConfig, Selic)
