"""The matrix engine of `examples/circuits/mixed_rows.v` in a simulator, against integers and the latency
model.

Icarus Verilog or Verilator runs the Verilog with real layers; its bytes are compared with the integer
network's arithmetic (`learn/search/integer.py`), its cycles with the model (`hardware/devices/latency.py`).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ToolError
from bifocal.hardware.devices.device import Device, load_device
from bifocal.hardware.devices.latency import Product, product_cycles
from bifocal.learn.search.integer import MixedMatrix, Whole, affine, mixed_matrix

CIRCUITS = Path(__file__).parents[2] / "examples" / "circuits"
ROWS, LANES, SUM = 4, 4, 24
#: Fraction bits of inputs, of outputs, and how far those of rows may lie apart.
SOURCE, WANTED, SPREAD = 5, 4, 5
#: Layers: rows of activations, length of a sum, rows of 4 and of 8 bits.
SHAPES = ((65, 96, 252, 36), (65, 96, 0, 96), (65, 192, 96, 0), (17, 48, 50, 14), (1, 96, 5, 5))


@dataclass(frozen=True)
class Simulated:
    """What the engine did with a layer: whether all bytes are right, its cycles, and the model's."""

    shape: tuple[int, int, int, int]
    equal: bool
    cycles: int
    modelled: float

    @property
    def error(self) -> float:
        return self.modelled / self.cycles - 1


def engine_device() -> Device:
    """The engine as a device of the latency model."""
    return load_device(CIRCUITS / "mixed_rows.toml")


def layer(shape: tuple[int, int, int, int], seed: int) -> tuple[MixedMatrix, NDArray[np.int64]]:
    """A matrix of random weights of both precisions, and activations ``[m, k]``."""
    m, k, four, eight = shape
    rng = np.random.default_rng(seed)
    has_eight = rng.permutation(np.arange(four + eight) >= four)
    numbers = np.where(has_eight[:, None], rng.integers(-127, 128, (four + eight, k)), 0)
    numbers = np.where(has_eight[:, None], numbers, rng.integers(-7, 8, (four + eight, k)))
    fraction = WANTED + 7 + rng.integers(0, SPREAD, four + eight) + 3 * has_eight
    bias = rng.integers(-1000, 1001, four + eight)
    return mixed_matrix(numbers, has_eight, bias, fraction, SOURCE), rng.integers(-127, 128, (m, k))


def simulate(shape: tuple[int, int, int, int], seed: int = 0) -> Simulated:
    """Run a layer of this shape on the engine.

    :raises ToolError: if there is no simulator, or it fails.
    """
    matrix, x = layer(shape, seed)
    wanted = affine(Whole(), matrix, x, WANTED, 127)
    placed = np.argsort(matrix.order)  # in the order of the two blocks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiles = _write(folder, matrix, x)
        lines = _run(folder, {**tiles, "inner": shape[1]}).splitlines()
    found = np.zeros_like(wanted)
    cycles = 0
    for line in lines:
        words = line.split()
        if words[:1] == ["cycles"]:
            cycles = int(words[1])
        elif len(words) == 3 and len(words[2]) == 4 * ROWS * LANES:
            _place(found, words, tiles["four_tiles"], len(matrix.four), placed)
    product = Product("layer", shape[0], shape[1], shape[2], shape[3])
    device = engine_device()
    modelled = product_cycles(product, device, device.tiles[0])
    return Simulated(shape, bool(np.array_equal(found, wanted)), cycles, modelled)


def _write(folder: Path, matrix: MixedMatrix, x: NDArray[np.int64]) -> dict[str, int]:
    """The contents of the memories, and how many tiles there are."""
    m, k = x.shape
    row_tiles, four_tiles = -(-m // ROWS), -(-len(matrix.four) // (2 * LANES))
    eight_tiles = -(-len(matrix.eight) // LANES)
    padded = np.zeros((row_tiles * ROWS, k), np.int64)
    padded[:m] = x
    _hex(folder / "activations.hex", padded.reshape(row_tiles, ROWS, k).transpose(0, 2, 1), 8)
    low, high = (matrix.four & 15).astype(np.int64), (matrix.four >> 4).astype(np.int64)
    nibbles = np.zeros((four_tiles * 2 * LANES, k), np.int64)
    nibbles[: len(low)] = (np.stack([low, high], 2).reshape(-1, k) - 8) & 15
    pairs = nibbles.reshape(four_tiles, LANES, 2, k)
    rows = np.zeros((eight_tiles * LANES, k), np.int64)
    rows[: len(matrix.eight)] = matrix.eight
    words = np.concatenate([pairs[:, :, 0] | pairs[:, :, 1] << 4, rows.reshape(eight_tiles, LANES, k)])
    _hex(folder / "weights.hex", words.transpose(0, 2, 1), 8)
    placed, four = np.argsort(matrix.order), len(matrix.four)
    for file, values, bits in (
        ("biases.hex", matrix.bias[placed], SUM),
        ("shifts.hex", (matrix.fraction - WANTED)[placed], 5),
    ):
        table = np.full((four_tiles + eight_tiles, 2 * LANES), 1, np.int64)
        flat = table[:four_tiles].reshape(-1)
        flat[:four] = values[:four]
        table[:four_tiles] = flat.reshape(four_tiles, 2 * LANES)
        wide = np.ones(eight_tiles * LANES, np.int64)
        wide[: len(values) - four] = values[four:]
        table[four_tiles:, :LANES] = wide.reshape(eight_tiles, LANES)
        _hex(folder / file, table, bits)
    return {"row_tiles": row_tiles, "four_tiles": four_tiles, "all_tiles": four_tiles + eight_tiles}


def _hex(path: Path, values: NDArray[np.int64], bits: int) -> None:
    """Words of the last axis, its first number lowest, as `$readmemh` reads them."""
    lines = []
    for row in values.reshape(-1, values.shape[-1]).tolist():
        word = 0
        for number in reversed(row):
            word = word << bits | (number & ((1 << bits) - 1))
        lines.append(f"{word:x}")
    path.write_text("\n".join(lines) + "\n")


def _place(
    found: NDArray[np.int64], words: list[str], four_tiles: int, four: int, placed: NDArray[np.int64]
) -> None:
    """Put the bytes of an output line where they belong."""
    row_tile, tile = int(words[0]), int(words[1])
    values = np.frombuffer(bytes.fromhex(words[2])[::-1], np.int8).reshape(ROWS, LANES, 2)
    if tile < four_tiles:
        made, start, stop = values.reshape(ROWS, -1), 2 * LANES * tile, four
    else:
        made, start, stop = values[..., 0], four + LANES * (tile - four_tiles), len(placed)
    count = min(made.shape[1], stop - start)
    rows = slice(ROWS * row_tile, min(ROWS * (row_tile + 1), len(found)))
    found[rows, placed[start : start + count]] = made[: rows.stop - rows.start, :count]


def simulator() -> str:
    """The simulator that is there: iverilog or verilator; empty if none is."""
    return next((name for name in ("iverilog", "verilator") if shutil.which(name)), "")


def _run(folder: Path, sizes: dict[str, int]) -> str:
    """Build the engine with its test bench, and run it in ``folder``."""
    sources = [str(CIRCUITS / name) for name in ("mixed_rows_tb.v", "mixed_rows.v")]
    given = [f"+{name}={value}" for name, value in sizes.items()]
    tool = simulator()
    if tool == "iverilog":
        commands = [["iverilog", "-g2005", "-s", "mixed_rows_tb", "-o", "engine", *sources]]
        commands.append(["vvp", "engine", *given])
    elif tool == "verilator":
        build = ["verilator", "--binary", "--timing", "-Wno-fatal", "--top-module", "mixed_rows_tb"]
        commands = [[*build, "-o", "engine", *sources], ["./obj_dir/engine", *given]]
    else:
        raise ToolError("neither iverilog nor verilator is installed. Run: apt-get install iverilog")
    out = ""
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise ToolError(f"{command[0]} failed: {(done.stderr or done.stdout)[-1000:]}")
        out = done.stdout
    return out
