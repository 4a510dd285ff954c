"""Truth tables → few word operations, by Shannon expansion over the best variable with shared parts.

A word holds one bit of every lane (one faulty copy of the circuit), so an operation on words computes as
many gates as a word has bits. A LUT6 of a real design needs about three operations; a plain multiplexer tree
needs 63.
"""

from __future__ import annotations

from functools import lru_cache

AND, ANDN, NOR, OR, ORN, NAND, XOR, XNOR, NOT, MUX, COPY = range(11)
CODE_NAMES = ("and", "andn", "nor", "or", "orn", "nand", "xor", "xnor", "not", "mux", "copy")

#: One operation: its code and three operands. Operand i < inputs is input i; above, results in order.
Op = tuple[int, int, int, int]
_FALSE, _TRUE = -1, -2


@lru_cache(maxsize=65536)
def decompose(table: int, inputs: int) -> tuple[tuple[Op, ...], int]:
    """The operations that compute a truth table, and the operand that is its value.

    ``a ANDN b`` is a and not b, ``a ORN b`` is a or not b, ``MUX(a, b, s)`` is b where s, else a. The result
    may be an input itself, or −1 for constant 0 and −2 for constant 1.

    >>> decompose(0b1000, 2)
    (((0, 1, 0, 0),), 2)
    >>> decompose(0b1100, 2), decompose(0b0000, 2)
    (((), 1), ((), -1))
    """
    builder = _Builder(inputs)
    result = builder.emit(table)
    return tuple(builder.ops), result


def evaluate(table: int, inputs: int, values: list[int], ones: int) -> int:
    """Compute a truth table over words given as integers; ``ones`` is the word of all ones.

    >>> evaluate(0b0110, 2, [0b0011, 0b0101], 0b1111)
    6
    """
    ops, result = decompose(table, inputs)
    words = list(values)
    for code, a, b, c in ops:
        words.append(_COMPUTE[code](words[a], words[b], words[c], ones))
    return {_FALSE: 0, _TRUE: ones}[result] if result < 0 else words[result]


_COMPUTE = (
    lambda a, b, c, ones: a & b,
    lambda a, b, c, ones: a & (ones ^ b),
    lambda a, b, c, ones: ones ^ (a | b),
    lambda a, b, c, ones: a | b,
    lambda a, b, c, ones: a | (ones ^ b),
    lambda a, b, c, ones: ones ^ (a & b),
    lambda a, b, c, ones: a ^ b,
    lambda a, b, c, ones: ones ^ a ^ b,
    lambda a, b, c, ones: ones ^ a,
    lambda a, b, c, ones: a & (ones ^ c) | b & c,
    lambda a, b, c, ones: a,
)


class _Builder:
    """Emits operations for one table, each sub-table once."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.full = (1 << (1 << inputs)) - 1
        self.ops: list[Op] = []
        self.done = {_variable(i, inputs): i for i in range(inputs)}

    def emit(self, table: int) -> int:
        if table in (0, self.full):
            return _FALSE if table == 0 else _TRUE
        if table in self.done:
            return self.done[table]
        if self.full ^ table in self.done:
            return self._put(table, NOT, self.done[self.full ^ table])
        kind, variable, low, high = _best(table, self.inputs)[1]
        if kind == "mux":
            a, b = self.emit(low), self.emit(high)
            return self._put(table, MUX, a, b, variable)
        rest, code, negated = {
            "and": (high, AND, ANDN),  # v & f
            "andn": (low, ANDN, NOR),  # ~v & f
            "or": (low, OR, ORN),  # v | f
            "orn": (high, ORN, NAND),  # ~v | f
            "xor": (low, XOR, XNOR),  # v ^ f
        }[kind]
        if rest not in self.done and self.full ^ rest in self.done:  # take the complement for nothing
            other = self.done[self.full ^ rest]
            if kind in ("and", "or"):
                return self._put(table, negated, variable, other)
            return self._put(table, negated, other, variable)
        other = self.emit(rest)
        return self._put(table, code, other, variable)

    def _put(self, table: int, code: int, a: int, b: int = 0, c: int = 0) -> int:
        self.ops.append((code, a, b, c))
        self.done[table] = self.inputs + len(self.ops) - 1
        return self.done[table]


@lru_cache(maxsize=64)
def _variable(i: int, inputs: int) -> int:
    """The table of input i by itself."""
    return sum(1 << a for a in range(1 << inputs) if a >> i & 1)


@lru_cache(maxsize=1 << 18)
def _best(table: int, inputs: int) -> tuple[int, tuple[str, int, int, int]]:
    """The cheapest expansion: operations (shared parts counted twice), and (kind, variable, low, high)."""
    full = (1 << (1 << inputs)) - 1
    choices: list[tuple[str, int, int, int]] = []
    for i in range(inputs):
        ones, step = _variable(i, inputs), 1 << i
        high, low = table & ones, table & ~ones & full
        high, low = high | high >> step, low | low << step
        if low == high:
            continue
        if low == 0 or high == 0 or low == full or high == full or low ^ high == full:
            kind = (
                "and" if low == 0
                else "orn" if low == full
                else "andn" if high == 0
                else "or" if high == full
                else "xor"
            )  # fmt: skip
            rest = high if kind in ("and", "orn") else low
            return 1 + _cost(rest, inputs, full), (kind, i, low, high)
        choices.append(("mux", i, low, high))
    costs = [_cost(low, inputs, full) + _cost(high, inputs, full) for _, _, low, high in choices]
    cheapest = min(range(len(costs)), key=costs.__getitem__)
    return 1 + costs[cheapest], choices[cheapest]


def _cost(table: int, inputs: int, full: int) -> int:
    if table in (0, full):
        return 0
    for i in range(inputs):
        variable = _variable(i, inputs)
        if table == variable or table == full ^ variable:
            return 0
    return _best(table, inputs)[0]
