"""A value change dump (VCD, IEEE 1364) as the inputs of a circuit, cycle by cycle.

Inputs are taken as they are just before each edge of the clock that the flip-flops use, as a simulator
samples them. What has no value yet, x and z count as 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.tools import shortened

#: The most cycles that are read.
MOST_CYCLES = 10_000_000


def read_vcd(
    path: str | os.PathLike[str],
    scope: str | None,
    clock: str,
    ports: Mapping[str, Sequence[int]],
    columns: int,
    *,
    rising: bool = True,
) -> NDArray[np.uint8]:
    """Input bits uint8 ``[cycles, columns]``, a row for each edge of ``clock`` in the dump.

    :param scope: the instance of the design, such as ``tb.dut``; found if None and there is only one that has
        all ports.
    :param ports: for each input port its columns, bit 0 first.
    :raises CircuitError: if the file cannot be read, lacks the scope, the clock or a port, or has no edges.
    """
    try:
        file = Path(path).open(encoding="latin-1")
    except OSError as error:
        raise CircuitError(f"{path} cannot be read: {error.strerror or error}.") from error
    with file:
        tokens = _tokens(file)
        variables = _header(str(path), tokens)
        chosen = _choose_scope(str(path), variables, scope, {clock, *ports})
        widths = {name: variables[chosen][name] for name in (clock, *ports)}
        targets: dict[str, list[tuple[int, Sequence[int]]]] = {}
        for name, target in ports.items():
            code, width = widths[name]
            if width != len(target):
                raise CircuitError(f"{path}: {chosen}.{name} has {width} bits, and the port {len(target)}.")
            targets.setdefault(code, []).append((width, target))
        rows = list(_sample(tokens, widths[clock][0], targets, columns, "1" if rising else "0"))
    if not rows:
        raise CircuitError(f"{path} holds no edge of {chosen}.{clock}. Dump a run in which the clock ticks.")
    return np.array(rows, np.uint8).reshape(len(rows), columns)


def _tokens(file: Iterator[str]) -> Iterator[str]:
    for line in file:
        yield from line.split()


def _header(path: str, tokens: Iterator[str]) -> dict[str, dict[str, tuple[str, int]]]:
    """The variables of each scope: by name their code and width."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    scopes: list[str] = []
    for token in tokens:
        if token == "$enddefinitions":
            return found
        if not token.startswith("$") or token == "$end":
            continue
        words = []
        for word in tokens:
            if word == "$end":
                break
            words.append(word)
        if token == "$scope" and len(words) == 2:
            scopes.append(words[1])
        elif token == "$upscope" and scopes:
            scopes.pop()
        elif token == "$var" and len(words) >= 4 and words[1].isdecimal():
            name = re.sub(r"\[\d+(?::\d+)?\]$", "", words[3].lstrip("\\"))
            found.setdefault(".".join(scopes), {})[name] = (words[2], int(words[1]))
    raise CircuitError(f"{path} is no value change dump: it has no $enddefinitions. Is it complete?")


def _choose_scope(
    path: str, variables: Mapping[str, Mapping[str, tuple[str, int]]], scope: str | None, names: set[str]
) -> str:
    if scope is not None:
        if scope not in variables:
            raise CircuitError(
                f"{path} has no scope {scope} (--scope). It has {shortened(list(variables)) or 'none'}."
            )
        if missing := sorted(names - variables[scope].keys()):
            raise CircuitError(f"{path}: {scope} lacks {shortened(missing)}. Dump all inputs of the design.")
        return scope
    found = [name for name, inside in variables.items() if names <= inside.keys()]
    nets = {tuple(variables[name][port] for port in sorted(names)) for name in found}
    if len(nets) != 1:  # a testbench often has the very nets of its instance
        raise CircuitError(
            f"{path} has {len(found)} scopes with all inputs of the design, where one is needed; its scopes "
            f"are {shortened(list(variables)) or 'none'}. Name the instance with --scope, such as tb.dut."
        )
    return found[-1]


def _sample(
    tokens: Iterator[str],
    clock: str,
    targets: Mapping[str, Sequence[tuple[int, Sequence[int]]]],
    columns: int,
    edge: str,
) -> Iterator[list[int]]:
    """The inputs before each edge: changes of a moment count from the moment after."""
    values = [0] * columns
    changes: list[tuple[str, str]] = []
    level, count = "", 0  # the value at the start is no edge

    def settle() -> Iterator[list[int]]:
        nonlocal level, count
        ticks = [bits for code, bits in changes if code == clock]
        if ticks and ticks[-1] == edge and level not in ("", edge):
            count += 1
            if count > MOST_CYCLES:
                raise CircuitError(f"the dump has more than {MOST_CYCLES:,} cycles. Shorten it.")
            yield list(values)
        if ticks:
            level = ticks[-1]
        for code, bits in changes:
            for width, target in targets.get(code, ()):
                digits = bits.rjust(width, bits[0] if bits[0] in "xzXZ" else "0")[::-1]
                for digit, column in zip(digits, target, strict=False):
                    values[column] = int(digit == "1")
        changes.clear()

    for token in tokens:
        if token[0] == "#":
            yield from settle()
        elif token[0] in "01xzXZ":
            changes.append((token[1:], token[0]))
        elif token[0] in "bB":
            changes.append((next(tokens, ""), token[1:]))
        elif token[0] in "rRsS":
            next(tokens, "")
        elif token == "$comment":
            while next(tokens, "$end") != "$end":
                pass
    yield from settle()
