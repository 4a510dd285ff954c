"""The search space of vision transformers, and its members: sizes and the share of 8-bit rows of each matrix.

The sizes are searched as in AutoFormer (Chen et al., arXiv 2107.00651): embedding and depth for the network,
heads and hidden layer for each block. Quasar-ViT (arXiv 2407.18175) adds the share of rows that have 8 bits
in place of 4, here for each of a block's four matrices. The width of a head is fixed.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from bifocal.errors import OptionError, TrainingError

#: The matrices of a block, in the order in which shares of 8-bit rows are given.
MATRICES = ("qkv", "proj", "fc1", "fc2")
#: What genes can be: whole numbers up to these, and shares.
MOST = {"dim": 1024, "depth": 48, "heads": 32, "mlp": 8, "head_dim": 128, "patch": 64, "side": 1024}


@dataclass(frozen=True)
class Subnet:
    """One network of a space: ``dim`` and ``depth``; for each block its ``heads``, the width of its hidden
    layer over ``dim`` (``mlp``), and the share of 8-bit rows of each of :data:`MATRICES`, ``eight``."""

    dim: int
    depth: int
    heads: tuple[int, ...]
    mlp: tuple[float, ...]
    eight: tuple[tuple[float, ...], ...]

    @property
    def key(self) -> str:
        """A text that is the same for equal subnets alone."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def hidden(self, block: int) -> int:
        """Width of the hidden layer of a block."""
        return round(self.mlp[block] * self.dim)


@dataclass(frozen=True)
class SearchSpace:
    """The values that each gene may take; ``eight`` are shares of 8-bit rows.

    ``layer_scale`` is what the factors of layer scaling start from, 0 for none. ``patch`` and ``side`` are
    those of pictures, in pixels; on latents every position is a token.

    :raises OptionError: if a value cannot be.
    """

    name: str
    dim: tuple[int, ...]
    depth: tuple[int, ...]
    heads: tuple[int, ...]
    mlp: tuple[float, ...]
    eight: tuple[float, ...] = (0.0, 0.125, 0.25, 0.5, 1.0)
    head_dim: int = 32
    layer_scale: float = 0.1
    patch: int = 8
    side: int = 64

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "heads", "mlp", "eight"):
            values: tuple[float, ...] = getattr(self, name)
            if not values or list(values) != sorted(set(values)):
                raise OptionError(f"{name} is {list(values)}; give its values once each, in rising order.")
        for name, most in MOST.items():
            values = getattr(self, name)
            for value in values if isinstance(values, tuple) else (values,):
                if not 0 < value <= most or (name != "mlp" and value != int(value)):
                    raise OptionError(f"{name} has {value}; it has to be above 0 and at most {most}.")
        for name in ("dim", "depth", "heads"):  # a file may say 3.0
            object.__setattr__(self, name, tuple(map(int, getattr(self, name))))
        for name in ("head_dim", "patch", "side"):
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "layer_scale", float(self.layer_scale))
        if not all(0 <= share <= 1 for share in self.eight):
            raise OptionError(f"eight is {list(self.eight)}; shares of rows are 0 to 1.")
        hidden = [ratio * dim for ratio in self.mlp for dim in self.dim]
        if any(dim % 8 for dim in self.dim) or self.head_dim % 8 or any(width % 4 for width in hidden):
            raise OptionError("dim and head_dim have to be multiples of 8, mlp times dim of 4.")
        if not 0 <= self.layer_scale <= 1:
            raise OptionError(f"layer_scale is {self.layer_scale}; it is 0, for none, to 1.")
        if self.side % self.patch:
            raise OptionError(f"side {self.side} is no multiple of patch {self.patch}.")

    @property
    def largest(self) -> Subnet:
        return self._extreme(-1)

    @property
    def smallest(self) -> Subnet:
        return self._extreme(0)

    def _extreme(self, i: int) -> Subnet:
        depth, rows = self.depth[i], (self.eight[i],) * len(MATRICES)
        return Subnet(self.dim[i], depth, (self.heads[i],) * depth, (self.mlp[i],) * depth, (rows,) * depth)

    @property
    def digest(self) -> str:
        """Names the space: another one has another."""
        known = {name: value for name, value in asdict(self).items() if name != "name"}
        return blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()

    def sample(self, rng: np.random.Generator) -> Subnet:
        """A subnet whose genes are drawn independently and uniformly."""
        depth = int(rng.choice(self.depth))
        eight = [tuple(float(v) for v in rng.choice(self.eight, len(MATRICES))) for _ in range(depth)]
        return Subnet(
            int(rng.choice(self.dim)),
            depth,
            tuple(int(v) for v in rng.choice(self.heads, depth)),
            tuple(float(v) for v in rng.choice(self.mlp, depth)),
            tuple(eight),
        )

    def mutate(
        self, parent: Subnet, rng: np.random.Generator, gene: float = 0.2, size: float = 0.4
    ) -> Subnet:
        """A child: each gene of a block drawn again with chance ``gene``, dim and depth with ``size``."""
        fresh = self.sample(rng)
        dim = fresh.dim if rng.random() < size else parent.dim
        depth = fresh.depth if rng.random() < size else parent.depth
        filled = self._lengthened(parent, depth, rng)
        drawn = self._lengthened(fresh, depth, rng)

        def pick(old: Any, new: Any) -> Any:
            return new if rng.random() < gene else old

        def picked(old: Sequence[Any], new: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(pick(a, b) for a, b in zip(old, new, strict=True))

        eight = tuple(picked(a, b) for a, b in zip(filled.eight, drawn.eight, strict=True))
        return Subnet(dim, depth, picked(filled.heads, drawn.heads), picked(filled.mlp, drawn.mlp), eight)

    def cross(self, first: Subnet, second: Subnet, rng: np.random.Generator) -> Subnet:
        """A child that takes each gene from one of two parents."""
        depth = (first, second)[rng.integers(2)].depth
        pair = [self._lengthened(parent, depth, rng) for parent in (first, second)]
        dim = pair[rng.integers(2)].dim
        heads = tuple(pair[rng.integers(2)].heads[i] for i in range(depth))
        mlp = tuple(pair[rng.integers(2)].mlp[i] for i in range(depth))
        eight = tuple(
            tuple(pair[rng.integers(2)].eight[i][m] for m in range(len(MATRICES))) for i in range(depth)
        )
        return Subnet(dim, depth, heads, mlp, eight)

    def _lengthened(self, subnet: Subnet, depth: int, rng: np.random.Generator) -> Subnet:
        """The subnet cut to ``depth``, or with blocks drawn at random behind its own."""
        more = replace(self.sample(rng), depth=depth)
        while len(more.heads) < depth:
            extra = self.sample(rng)
            more = replace(
                more,
                heads=more.heads + extra.heads,
                mlp=more.mlp + extra.mlp,
                eight=more.eight + extra.eight,
            )
        own = subnet.depth
        return Subnet(
            subnet.dim,
            depth,
            (subnet.heads + more.heads[own:])[:depth] if own < depth else subnet.heads[:depth],
            (subnet.mlp + more.mlp[own:])[:depth] if own < depth else subnet.mlp[:depth],
            (subnet.eight + more.eight[own:])[:depth] if own < depth else subnet.eight[:depth],
        )

    def check(self, subnet: Subnet) -> None:
        """Refuse a subnet that is not of this space.

        :raises OptionError: with the gene that does not fit.
        """
        genes: list[tuple[str, Sequence[float], Sequence[float]]] = [
            ("dim", [subnet.dim], self.dim),
            ("depth", [subnet.depth], self.depth),
            ("heads", subnet.heads, self.heads),
            ("mlp", subnet.mlp, self.mlp),
            ("eight", [share for block in subnet.eight for share in block], self.eight),
        ]
        for name, values, allowed in genes:
            if name != "eight" and any(value not in allowed for value in values):
                raise OptionError(f"{name} {list(values)} is not of space {self.name}: {list(allowed)}.")
        lengths = {len(subnet.heads), len(subnet.mlp), len(subnet.eight)}
        if lengths != {subnet.depth} or any(len(block) != len(MATRICES) for block in subnet.eight):
            raise OptionError(f"heads, mlp and eight need {subnet.depth} entries, one for each block.")
        if not all(0 <= share <= 1 for block in subnet.eight for share in block):
            raise OptionError(f"eight is {subnet.eight}; shares of rows are 0 to 1.")


def as_subnet(table: Mapping[str, Any]) -> Subnet:
    """A subnet from a table of TOML or JSON.

    :raises OptionError: if an entry is missing or of another kind.
    """
    try:
        return Subnet(
            int(table["dim"]),
            int(table["depth"]),
            tuple(int(v) for v in table["heads"]),
            tuple(float(v) for v in table["mlp"]),
            tuple(tuple(float(v) for v in block) for block in table["eight"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise OptionError(f"a subnet lacks {error}, or it is no number.") from error


def space_of(table: Mapping[str, Any], source: str) -> SearchSpace:
    """A space from a table of TOML or JSON.

    :raises TrainingError: if a key is unknown or missing, or a value cannot be; ``source`` names it.
    """
    known = set(SearchSpace.__dataclass_fields__)
    if unknown := sorted(set(table) - known):
        raise TrainingError(f"{source}: a search space does not know {', '.join(unknown)}.")
    try:
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in table.items()}
        return SearchSpace(**values)
    except OptionError as error:
        raise TrainingError(f"{source}: {error}") from error
    except TypeError as error:
        raise TrainingError(f"{source}: {error}. A space has {', '.join(sorted(known))}.") from error


def load_space(path: Path) -> SearchSpace:
    """Read a space; a missing path is looked for among the shipped ones (``learn/recipes/space-*.toml``).

    :raises TrainingError: if it cannot be read, or says something impossible.
    """
    shipped = Path(__file__).parents[1] / "recipes"
    for name in (path.name, f"space-{path.stem}.toml"):
        if not path.exists() and (shipped / name).exists():
            path = shipped / name
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(p.name for p in shipped.glob("space-*.toml")))
        raise TrainingError(f"there is no search space {path}. Shipped are {names}.") from error
    except ValueError as error:
        raise TrainingError(f"{path} is not valid TOML: {error}") from error
    return space_of({"name": path.stem.removeprefix("space-"), **table}, str(path))
