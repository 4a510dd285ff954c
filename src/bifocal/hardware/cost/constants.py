"""What memory and arithmetic are taken to be: plain numbers, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

from bifocal.errors import OptionError


@dataclass(frozen=True)
class Memory:
    """The memory outside the chip, and what the codec in front of it may keep.

    ``burst`` is what one access transfers, in bytes; ``block`` how many values of a tensor the codec buffers:
    a block is as many whole rows of all channels as fit, at least one. ``sram`` is the memory on the chip in
    bytes that line-buffered execution may fill. All three are our choices: 64-byte bursts as most DRAM
    interfaces have, 128 Ki values, 1 MiB.
    """

    burst: int = 64
    block: int = 128 << 10
    sram: int = 1 << 20

    def __post_init__(self) -> None:
        if self.burst < 1 or self.block < 1 or self.sram < 0:
            raise OptionError(
                f"memory has bursts of {self.burst} bytes, blocks of {self.block} values and {self.sram} "
                "bytes on the chip; all are positive."
            )

    def whole_bursts(self, size: int) -> int:
        """``size`` bytes rounded up to whole bursts.

        >>> Memory(burst=64).whole_bursts(65)
        128
        """
        return -(-size // self.burst) * self.burst

    def rows(self, channels: int, width: int) -> int:
        """Rows of a block of a tensor ``[channels, height, width]``."""
        return max(1, self.block // max(1, channels * width))


@dataclass(frozen=True)
class Energy:
    """Energy in pJ: of a bit to or from DRAM, of a multiply–add by its arithmetic, of coding a value.

    45 nm figures of Horowitz (ISSCC 2014). Arithmetic in float32 is 3.7 (product) + 0.9 (sum), from a stored
    table; in 8 bits 0.2 + 0.03, and DRAM 20 pJ a bit (640 a word of 32 bits), from memory of the same talk
    and not checked. A sum of 8-bit products in 32 bits would be 0.1 in place of 0.03. ``code`` is for a
    word in either direction: EBPC (Cavigelli, Rutishauser and Benini 2019) says 0.27 to 0.45 of its own codec
    in 22 nm; nobody has measured it for the coders here.
    """

    dram: float = 20.0
    mac_float32: float = 4.6
    mac_int8: float = 0.23
    code: float = 0.45

    def sources(self) -> list[tuple[str, str]]:
        """Every constant with its value and its source, for a report."""
        return [
            ("DRAM", f"{self.dram:g} pJ a bit: Horowitz 2014, 640 pJ a 32-bit word; not checked"),
            ("multiply–add, float32", f"{self.mac_float32:g} pJ: Horowitz 2014, 45 nm, 3.7 + 0.9"),
            ("multiply–add, 8 bits", f"{self.mac_int8:g} pJ: Horowitz 2014, 45 nm, 0.2 + 0.03; not checked"),
            ("coding a value", f"{self.code:g} pJ: EBPC, its upper figure for another codec, 22 nm"),
        ]
