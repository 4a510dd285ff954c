"""Masks, enlarged pictures and tables of the study are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bifocal.hardware.cost.measure import measure
from studies.traffic import growth
from studies.traffic.finetune import two_of_four
from studies.traffic.run import NOT_MEASURED, enlarged, others, table, tiles


def test_two_of_every_four_inputs_stay_the_largest() -> None:
    weight = torch.randn(3, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = two_of_four(weight)
    groups = mask.permute(0, 2, 3, 1).reshape(-1, 4)
    assert bool((groups.sum(1) == 2).all())
    kept = (weight.abs() * mask).permute(0, 2, 3, 1).reshape(-1, 4)
    assert torch.equal(kept.sum(1), weight.abs().permute(0, 2, 3, 1).reshape(-1, 4).topk(2, 1).values.sum(1))
    assert bool((two_of_four(torch.randn(2, 3, 1, 1)) == 1).all())


def test_a_picture_grows_by_its_mirror() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    large = enlarged(pixels, 8)
    assert large.shape == (8, 8, 3) and np.array_equal(large[2], large[1])


def row(name: str) -> dict[str, Any]:
    def way(size: int) -> dict[str, Any]:
        mj = {"dram": 1.0, "products": 1.0, "transforms": 0.0, "coding": 0.0, "total": size / 100}
        return {
            "bits_per_activation": size / 100,
            "activation_bytes": size << 20,
            "less_than_float32": 3200 / size,
            "total_bytes": size << 20,
            "boundary_bytes": 2 << 20,
            "total_less_than_float32": 1600 / size,
            "energy_mj": mj,
        }

    return {
        "name": name,
        "passes": 2,
        "multiply_adds": 10**9,
        "ways": {"float32": way(3200), "raw": way(800), "symmetric": way(400), "zstd": way(200)},
        "quality": [{"what": "PSNR, dB", "float": 40.0, "coded": 39.9}],
        "tiles": [{"side": 64, "bytes": 1 << 20, "multiply_adds": 1, "recomputed": 1.5, "sram_bytes": 2048}],
        "line_buffer_bytes": 4096,
        "weights_read": 2 << 20,
    }


def test_growth_is_that_of_figures_and_the_network_is_cut_into_rows() -> None:
    rows = [{"megapixels": m, "processor_seconds": 2 * m, "peak_mib": 100 + 30 * m} for m in (1.0, 2.0, 12.0)]
    shown = growth.table({"rows": rows, "coders": ["raw"], "machine": "here"})
    assert "| 12.00 |" in shown and "1.00th power" in shown and "30 MiB a megapixel" in shown
    assert growth.plot(rows).count("<polyline") == 2
    traffic = measure(growth.tiny(), {"x": growth.picture(34, 66)}, threads=1)
    assert traffic.outputs["y"].shape == (1, 3, 34, 66)
    assert traffic.not_tiled == "" and traffic.values == (8 + 4) * 17 * 33


def test_tables_show_what_was_measured_and_what_was_not() -> None:
    found = {"steps for 0.1 dB": {"networks": [row("m: encoder"), row("m: decoder")]}}
    shown = table(found, "decoder")
    assert "| steps for 0.1 dB | symmetric | 4.00 | 200.00 | 8.0× | 4.0× | 2.00 | 8.0× | 39.90 |  |" in shown
    assert shown.count(NOT_MEASURED) == 10 and "zstd" in shown
    assert "| 64 | 1.00 | 1600.0× | 1.50× | 2 |" in tiles(found) and tiles({}) == NOT_MEASURED
    assert "m: decoder, large picture | 2 | 1.00 G" in others({"large picture": found["steps for 0.1 dB"]})
