"""A netlist as behavioural Verilog for Verilator, with one fault built in or with a fault chosen at run time.

LUTs are indexed constants, because user-defined primitives elaborate slowly. An asynchronous set or clear is
a multiplexer behind the flip-flop: in a simulation by cycles that is equivalent, and it does not depend on
what a simulator takes for an edge at time zero. Only the cells and nets in ``faults`` get logic for faults,
so that the model is as fast as possible.
"""

from __future__ import annotations

from dataclasses import dataclass

from bifocal.hardware.circuits.elements import ONE, ZERO, Gate
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.faults.models import INIT, OPEN, STUCK, UPSET, Fault, Faults

#: The name of the module.
MODEL = "machine"


@dataclass(frozen=True)
class VerilogModel:
    """The text, and how many 32-bit words its inputs, compared outputs and state take.

    Ports: clk; in0 …, out0 …, state0 … of 32 bits; ``show`` (the state ports hold the state), ``flip`` (an
    upset happens in this cycle). With a fault chosen at run time also ``load`` (the clock edge takes the
    fault and the initial state), ``kind``, ``target`` and ``detail``.
    """

    text: str
    in_words: int
    out_words: int
    state_words: int


def with_fault(netlist: Netlist, fault: Fault | None = None) -> VerilogModel:
    """The circuit with one fault built in, or with none."""
    return _Writer(netlist, fault, None).model()


def selectable(netlist: Netlist, faults: Faults) -> VerilogModel:
    """One circuit that can have any of ``faults``; which one is an input at run time.

    >>> from bifocal.hardware.circuits.netlist import build_netlist
    >>> from bifocal.hardware.circuits.elements import Port
    >>> inverter = build_netlist(
    ...     "inverter", nets=["0", "1", "a", "y"], inputs=[Port("a", (2,))], outputs=[Port("y", (3,))],
    ...     gates=[Gate("inv", "LUT1", (2,), 3, 0b01)],
    ... )
    >>> text = selectable(inverter, Faults.lut_init(inverter)).text
    >>> "reg [1:0] t0;" in text, "assign n3 = t0[a0];" in text
    (True, True)
    """
    return _Writer(netlist, None, faults).model()


class _Writer:
    """Collects the lines of one module: declarations, continuous ones, and those of the clock edge."""

    def __init__(self, netlist: Netlist, fault: Fault | None, faults: Faults | None) -> None:
        self.netlist, self.fault, self.faults = netlist, fault, faults
        self.hooked = set() if faults is None else {(f.kind, f.target) for f in faults}
        self.wires: list[str] = []
        self.load: list[str] = []
        self.edge: list[str] = []

    def model(self) -> VerilogModel:
        netlist = self.netlist
        columns = [net for _, net in netlist.driven]
        compared = [net for _, net in netlist.compared]
        words = [-(-len(part) // 32) for part in (columns, compared, netlist.flipflops)]
        for index, net in enumerate(columns):
            self._drive(net, f"in{index // 32}[{index % 32}]")
        for j in range(len(netlist.flipflops)):
            self._flipflop(j)
        for i, gate in enumerate(netlist.gates):
            self._gate(i, gate)
        self._pack("out", [f"n{net}" if net > ONE else f"1'b{net}" for net in compared], "")
        self._pack("state", [f"q{j}" for j in range(len(netlist.flipflops))], "show ? {} : 32'd0")
        names = ["clk", "show", "flip"]
        names += [f"[31:0] in{i}" for i in range(words[0])]
        if self.faults is not None:
            names += ["load", "[2:0] kind", "[31:0] target", "[31:0] detail"]
        ports = [f"input {name}" for name in names]
        ports += [f"output [31:0] out{i}" for i in range(words[1])]
        ports += [f"output [31:0] state{i}" for i in range(words[2])]
        if self.faults is None:
            clocked = ["initial begin", *self.load, "end", "always @(posedge clk) begin", *self.edge, "end"]
        else:
            clocked = [
                "always @(posedge clk) if (load) begin",
                *self.load,
                "end else begin",
                *self.edge,
                "end",
            ]
        lines = [f"module {MODEL} (\n  {', '.join(ports)});", *self.wires, *clocked, "endmodule", ""]
        return VerilogModel("\n".join(lines), *words)

    def _read(self, net: int) -> str:
        return f"n{net}" if net > ONE else f"1'b{net}"

    def _drive(self, net: int, value: str) -> None:
        """A net and its driver, with the hook of a net that may be stuck."""
        self.wires.append(f"wire n{net};")
        if self.fault is not None and (self.fault.kind, self.fault.target) == (STUCK, net):
            value = f"1'b{self.fault.detail}"
        elif (STUCK, net) in self.hooked:
            self._register(f"s{net}", 2, f"{{{self._chosen(STUCK, net)}, detail[0]}}")
            value = f"s{net}[1] ? s{net}[0] : {value}"
        self.wires.append(f"assign n{net} = {value};")

    def _chosen(self, kind: int, target: int) -> str:
        return f"(kind == 3'd{kind} && target == 32'd{target})"

    def _register(self, name: str, width: int, loaded: str) -> None:
        self.wires.append(f"reg [{width - 1}:0] {name};")
        self.load.append(f"{name} <= {loaded};")

    def _gate(self, i: int, gate: Gate) -> None:
        width = max(1, len(gate.inputs))
        pins = [self._read(net) for net in reversed(gate.inputs)] or ["1'b0"]
        table, address = gate.table, "{" + ", ".join(pins) + "}"
        if self.fault is not None and self.fault.target == i:
            if self.fault.kind == INIT:
                table ^= 1 << self.fault.detail
            elif self.fault.kind == OPEN:
                pins[len(pins) - 1 - (self.fault.detail >> 1)] = f"1'b{self.fault.detail & 1}"
                address = "{" + ", ".join(pins) + "}"
        if (OPEN, i) in self.hooked:
            chosen = self._chosen(OPEN, i)
            self._register(f"m{i}", width, f"{chosen} ? {width}'d1 << detail[31:1] : {width}'d0")
            self._register(f"v{i}", width, f"{chosen} ? {width}'(detail[0]) << detail[31:1] : {width}'d0")
            address = f"({address} & ~m{i}) | v{i}"
        self.wires.append(f"wire [{width - 1}:0] a{i} = {address};")
        content = f"{gate.bits}'h{table:x}"
        if (INIT, i) in self.hooked:
            loaded = f"{content} ^ ({self._chosen(INIT, i)} ? {gate.bits}'d1 << detail : {gate.bits}'d0)"
            self._register(f"t{i}", gate.bits, loaded)
        else:
            self.wires.append(f"localparam [{gate.bits - 1}:0] t{i} = {content};")
        self._drive(gate.output, f"t{i}[a{i}]")

    def _flipflop(self, j: int) -> None:
        f = self.netlist.flipflops[j]
        state = f"q{j}"
        self._register(state, 1, f"1'b{f.initial}")
        if self.fault is not None and (self.fault.kind, self.fault.target) == (UPSET, j):
            state = f"(q{j} ^ flip)"
        elif (UPSET, j) in self.hooked:
            self._register(f"u{j}", 1, self._chosen(UPSET, j))
            state = f"(q{j} ^ (flip & u{j}))"
        control, enable = self._read(f.control), self._read(f.enable)
        if f.asynchronous and f.control != ZERO:
            state = f"{control} ? 1'b{f.value} : {state}"
        self._drive(f.output, state)
        index = len(self.netlist.gates) + j
        data = self._read(f.data)
        if self.fault is not None and (self.fault.kind, self.fault.target) == (OPEN, index):
            data = f"1'b{self.fault.detail}"
        elif (OPEN, index) in self.hooked:
            self._register(f"d{j}", 2, f"{{{self._chosen(OPEN, index)}, detail[0]}}")
            data = f"(d{j}[1] ? d{j}[0] : {data})"
        self.edge.append(f"q{j} <= {control} ? 1'b{f.value} : ({enable} ? {data} : n{f.output});")

    def _pack(self, name: str, bits: list[str], template: str) -> None:
        for word in range(0, len(bits), 32):
            chunk = bits[word : word + 32]
            padded = [f"{32 - len(chunk)}'d0"] * (len(chunk) < 32) + chunk[::-1]
            value = "{" + ", ".join(padded) + "}"
            self.wires.append(f"assign {name}{word // 32} = {template.format(value) if template else value};")
