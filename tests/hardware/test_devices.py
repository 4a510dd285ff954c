"""Devices as files, refused by key; the latency model on cases that can be counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bifocal.errors import OptionError
from bifocal.hardware.devices.device import Device, Tiles, load_device
from bifocal.hardware.devices.latency import (
    Functions,
    Product,
    Workload,
    design,
    network_cycles,
    product_cycles,
    resources,
)
from bifocal.hardware.devices.published import compare, held_out_error

SHIPPED = Path(__file__).parents[2] / "src/bifocal/hardware/devices"
TEXT = (SHIPPED / "zcu102.toml").read_text(encoding="utf-8")
TILES = Tiles(4, 4, 1, 16)


@pytest.fixture(scope="module")
def device() -> Device:
    found = load_device("zcu102")
    return replace(found, bandwidth=1e9)


def test_shipped_devices_load() -> None:
    assert {load_device(path.stem).kind for path in SHIPPED.glob("*.toml")} == {"modelled", "measured"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("dsp = 2520", "dsp = -1", r"resources\.dsp is -1"),
        ("dsp = 2520", 'dsp = "many"', r"resources\.dsp is 'many', which is no number"),
        ("dsp = 2520", "dsp = nan", r"resources\.dsp is nan"),
        ("dsp = 2520", "", r"resources\.dsp is missing"),
        ("clock_mhz = 150", "clock_mhz = 0", "clock_mhz is 0"),
        ("w4a8 = 2", "w4a8 = 0.5", r"multiplies\.w4a8"),
        ("efficiency = 1.0", "efficiency = 1.5", r"fit\.efficiency"),
        ("rows = [8, 16, 32, 64, 128]", "rows = []", r"tiles\.rows"),
        ("rows = [8, 16, 32, 64, 128]", "rows = [1.5]", r"tiles\.rows has 1.5"),
        ("multipliers = [256, 512, 1024, 1536, 2048, 2400]", "multipliers = [65536]", "more than rows"),
        ("[logic]", "[logic]\nflux = 3", r"logic\.flux is unknown"),
        ('kind = "modelled"', 'kind = "guessed"', "kind is 'guessed'"),
        ('kind = "modelled"', 'kind = "measured"', "is unknown"),
        ("[tiles]", "[tile]", "tile is unknown"),
        ('published = "zcu102"', 'published = "u250"', "published"),
        ("[tiles]", "[tiles", "not valid TOML"),
    ],
)
def test_missing_and_impossible_numbers_are_refused_by_key(
    old: str, new: str, says: str, tmp_path: Path
) -> None:
    assert old in TEXT
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(OptionError, match=says):
        load_device(path)


def test_a_device_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(OptionError, match="cpu, zcu102"):
        load_device("zcu103")


def test_cycles_of_a_product_are_tiles_times_its_inner_length(device: Device) -> None:
    product = Product("p", rows=10, inner=50, four=9, eight=5)
    # 3 tiles down; 2 of rows of 4 bits, 8 to a tile, and 2 of 8 bits; 4 + 4 cycles to fill
    assert product_cycles(product, device, TILES) == 3 * 4 * 50 + 8
    half = replace(device, numbers={**device.numbers, "fit.efficiency": 0.5})
    assert product_cycles(product, half, TILES) == 2 * 3 * 4 * 50 + 8


def test_rows_of_four_bits_take_half_the_cycles_and_bytes(device: Device) -> None:
    fine, coarse = Product("p", 64, 64, 0, 64), Product("p", 64, 64, 64, 0)
    assert product_cycles(coarse, device, TILES) - 8 == (product_cycles(fine, device, TILES) - 8) / 2
    slow = replace(device, bandwidth=1e-3)  # memory alone counts: half the weights, all else alike
    # weights once and activations for each of 16 tiles across, or the other way round
    assert product_cycles(fine, slow, TILES) == pytest.approx(1e3 * (4096 + 16 * 4096 + 4096))
    assert product_cycles(coarse, slow, TILES) == pytest.approx(1e3 * (2048 + 8 * 4096 + 4096))


def test_heads_are_rounded_up_to_those_that_run_side_by_side(device: Device) -> None:
    def cycles(heads: int) -> float:
        return product_cycles(Product("s", 16, 8, 0, 16, heads), device, Tiles(4, 4, 2, 16))

    assert cycles(3) == cycles(4) > cycles(2)


def test_functions_and_control_are_added(device: Device) -> None:
    numbers = {**device.numbers, "functions.gelu": 0.5, "fit.control_cycles": 100.0}
    known = replace(device, numbers=numbers)
    work = Workload((Product("p", 4, 10, 0, 4),), Functions(gelu=20))
    assert network_cycles(work, known, TILES) == 10 + 8 + 100 + 10


def test_the_fastest_design_that_fits_is_taken(device: Device) -> None:
    work = Workload((Product("p", 64, 64, 32, 32),))
    best = design(work, device)
    assert all(best.seconds <= network_cycles(work, device, t) / device.clock for t in device.tiles[:40])
    few = replace(device, numbers={**device.numbers, "resources.dsp": 310.0})
    assert resources(work, few, design(work, few).tiles).dsp <= 310
    none = replace(device, numbers={**device.numbers, "resources.dsp": 10.0, "resources.lut": 1.0})
    with pytest.raises(OptionError, match="too little DSP, LUT"):
        design(work, none)


def test_published_designs_are_modelled_and_the_error_of_those_held_out_is_said() -> None:
    known = load_device("zcu102")
    rows = compare(known)
    assert [row.point.work.macs / 1e9 for row in rows[:3]] == pytest.approx([1.81, 4.09, 0.30], rel=0.02)
    assert all(abs(row.error) < 0.3 for row in rows if row.point.fitted)
    text = held_out_error(known)
    assert text.startswith("modelled; on published designs held out") and "Auto-ViT-Acc" in text
    assert "never compared" in held_out_error(replace(known, published=""))
