"""Our own designs do what they say: their netlists, simulated without a fault, against models in Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bifocal.hardware.circuits.stimulus import Stimulus
from bifocal.hardware.circuits.yosys_json import read_netlist
from bifocal.hardware.faults.engines.fault_free import trace

NETLISTS = Path(__file__).parent / "netlists"
CYCLES = 600


def played(name: str) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Inputs and outputs by port of a fault-free run, one number a cycle."""
    netlist = read_netlist(NETLISTS / f"{name}.json")
    stimulus = Stimulus.random(netlist, cycles=CYCLES, seed=5)
    inputs = stimulus.bits[stimulus.reset_cycles :]
    return by_port(list(stimulus.names), inputs), by_port(
        [bit for bit, _ in netlist.compared], trace(netlist, stimulus)
    )


def by_port(names: list[str], bits: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> dict[str, list[int]]:
    ports: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        port, _, place = name.partition("[")
        values = ports.setdefault(port, [0] * len(bits))
        for cycle, bit in enumerate(bits[:, column].tolist()):
            values[cycle] |= bit << int(place[:-1] or 0)
    return ports


def rows(ports: dict[str, list[int]]) -> Iterator[dict[str, int]]:
    for cycle in range(CYCLES):
        yield {name: values[cycle] for name, values in ports.items()}


@pytest.mark.parametrize("name", ["counter", "counter-carry"])
def test_counter(name: str) -> None:
    inputs, outputs = played(name)
    count = wrap = 0
    for given, seen in zip(rows(inputs), rows(outputs), strict=True):
        assert seen == {"count": count, "wrap": wrap}
        wrap = int(given["enable"] and not given["load"] and count == 255)
        if given["load"]:
            count = given["value"]
        elif given["enable"]:
            count = (count + 1) % 256


def test_lfsr() -> None:
    inputs, outputs = played("lfsr")
    state = 0xACE1
    for given, seen in zip(rows(inputs), rows(outputs), strict=True):
        assert seen == {"state": state}
        if given["seed_enable"]:
            state = given["seed"] or 0xACE1
        elif given["step"]:
            state = state >> 1 ^ (0xB400 if state & 1 else 0)


@pytest.mark.parametrize("name", ["haar", "haar-carry"])
def test_haar_lifting_stage_is_the_s_transform_and_can_be_undone(name: str) -> None:
    inputs, outputs = played(name)
    samples = [s for s, valid in zip(inputs["sample"], inputs["valid"], strict=True) if valid]
    pairs = [
        (low, high - 512 if high > 255 else high)
        for low, high, ready in zip(outputs["low"], outputs["high"], outputs["ready"], strict=True)
        if ready
    ]
    assert len(pairs) > 100
    for (low, high), a, b in zip(pairs, samples[0::2], samples[1::2], strict=False):
        assert (low, high) == ((a + b) >> 1, b - a)
        assert (low - (high >> 1), low - (high >> 1) + high) == (a, b)


def test_exp_golomb_encoder_writes_the_codes_of_the_values_that_it_took() -> None:
    inputs, outputs = played("exp_golomb")
    taken = [
        value
        for value, valid, ready in zip(inputs["value"], inputs["valid"], outputs["ready"], strict=True)
        if valid and ready
    ]
    written, code = [], ""
    for bit, valid, last in zip(outputs["code_bit"], outputs["bit_valid"], outputs["last"], strict=True):
        if valid:
            code += str(bit)
            if last:
                written.append(code)
                code = ""
    assert len(written) > 20
    for value, word in zip(taken, written, strict=False):
        digits = f"{value + 1:b}"
        assert word == "0" * (len(digits) - 1) + digits


def test_uart_sends_frames_of_ten_bits_and_hears_itself() -> None:
    netlist = read_netlist(NETLISTS / "uart.json")
    quiet = Stimulus.random(netlist, cycles=CYCLES, seed=5)
    column = list(quiet.names).index("rx")
    inputs = by_port(list(quiet.names), quiet.bits[quiet.reset_cycles :])
    sent = by_port([bit for bit, _ in netlist.compared], trace(netlist, quiet))
    # what is sent does not depend on rx: play it back, a cycle later, into the receiver
    bits = quiet.bits.copy()
    bits[:, column] = 1
    bits[quiet.reset_cycles + 1 :, column] = sent["tx"][:-1]
    looped = Stimulus(bits, quiet.names, quiet.reset_cycles, "looped back")
    heard = by_port([bit for bit, _ in netlist.compared], trace(netlist, looped))
    bytes_in = [
        value
        for value, send, busy in zip(inputs["data_in"], inputs["send"], sent["busy"], strict=True)
        if send and not busy
    ]
    bytes_out = [v for v, got in zip(heard["data_out"], heard["received"], strict=True) if got]
    assert len(bytes_out) >= 10 and bytes_out == bytes_in[: len(bytes_out)]
    assert not any(heard["framing_error"])
    for cycle, (value, send, busy) in enumerate(
        zip(inputs["data_in"], inputs["send"], sent["busy"], strict=True)
    ):
        if send and not busy and cycle + 41 < CYCLES:
            frame = [sent["tx"][cycle + 1 + 4 * bit] for bit in range(10)]
            assert frame == [0, *(value >> bit & 1 for bit in range(8)), 1]


def test_symmetric_golomb_writes_the_codes_of_the_python_coder() -> None:
    """Symbol for symbol: the code of every cycle is the bits that `bifocal.hardware.cost` writes."""
    from bifocal.hardware.cost.bitcodes import fold, put_code

    inputs, outputs = played("symmetric_golomb")
    before: dict[str, int] = {"valid": 0}
    checked = 0
    for given, seen in zip(rows(inputs), rows(outputs), strict=True):
        assert seen["code_valid"] == before["valid"]
        if before["valid"] and before["order"] < 7:  # order 7 says that a channel is constant
            bits = np.zeros(8, np.uint8)
            length = int(put_code(bits, 0, int(fold(before["value"] - before["median"])), before["order"]))
            written = "".join(f"{byte:08b}" for byte in bits.tolist())[:length]
            assert f"{seen['code']:0{seen['length']}b}" == written
            checked += 1
        before = given
    assert checked > CYCLES // 4
