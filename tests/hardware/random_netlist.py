"""Random circuits: networks of LUTs, carries and flip-flops of every kind, without loops."""

from __future__ import annotations

import random

from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port, Reset
from bifocal.hardware.circuits.netlist import Netlist, build_netlist

_FLIPFLOPS = (("FDCE", True, 0), ("FDPE", True, 1), ("FDRE", False, 0), ("FDSE", False, 1))


def random_netlist(seed: int, *, gates: int = 12, flipflops: int = 5, inputs: int = 3) -> Netlist:
    """A circuit drawn with ``seed``: gates read what comes before them, flip-flops anything."""
    rng = random.Random(seed)
    nets = ["0", "1", "clk", "rst", *(f"in[{i}]" for i in range(inputs))]
    data = list(range(3, 4 + inputs))
    states = [_new(nets, f"q{j}") for j in range(flipflops)]
    made: list[Gate] = []
    # An asynchronous control from logic must not depend on its own flip-flop: the first gates see only ports.
    early = [0, 1, *data]
    for i in range(gates):
        known = early if i < 2 else [0, 1, *data, *states, *(gate.output for gate in made)]
        count = rng.randint(0, 6)
        weighted = known[-12:] * 3 + known
        wires = tuple(rng.choice(weighted) for _ in range(count))
        kind = "MUXF7" if count == 3 and rng.random() < 0.3 else f"LUT{count}"
        made.append(Gate(f"g{i}", kind, wires, _new(nets, f"n{i}"), rng.getrandbits(1 << count)))
    late = [0, 1, *data, *states, *(gate.output for gate in made)]
    controls = [0, 3, 3, 1, *(gate.output for gate in made[:2])]
    cells = []
    for j, state in enumerate(states):
        kind, asynchronous, value = rng.choice(_FLIPFLOPS)
        control = rng.choice(controls if asynchronous else [0, 3, *late])
        enable = rng.choice([1, 1, *late])
        cells.append(
            FlipFlop(
                f"f{j}",
                kind,
                rng.choice(late),
                state,
                enable,
                control,
                asynchronous,
                value,
                rng.getrandbits(1),
            )
        )
    out = tuple(rng.choice(late[2:]) for _ in range(rng.randint(1, 5)))
    return build_netlist(
        f"random{seed}",
        nets=nets,
        inputs=[Port("clk", (2,)), Port("rst", (3,)), Port("in", tuple(range(4, 4 + inputs)))],
        outputs=[Port("out", out)],
        gates=made,
        flipflops=cells,
        clock=2,
        reset=Reset(3, 1) if rng.random() < 0.8 else None,
    )


def _new(nets: list[str], name: str) -> int:
    nets.append(name)
    return len(nets) - 1
