"""Training may cut latents into tiles, as a large picture's are."""

from __future__ import annotations

import torch

from bifocal.learn.nets.codec import from_tiles, into_tiles, quality_anchors
from bifocal.learn.systems.lapped import Lapped, LappedConfig

CONFIG = LappedConfig(
    latent=8, synthesis_width=8, synthesis_blocks=1, hyper=4, features=8, context=8, anchors=2
)


def test_tiles_are_the_parts_of_a_map_row_by_row() -> None:
    x = torch.arange(2 * 3 * 4 * 8).reshape(2, 3, 4, 8)
    tiles = into_tiles(x, 2)
    assert tiles.shape == (8, 3, 2, 4)
    assert torch.equal(tiles[1], x[0, :, :2, 4:])
    assert torch.equal(tiles[6], x[1, :, 2:, :4])
    assert torch.equal(from_tiles(tiles, 2), x)


def test_entropy_networks_see_no_neighbouring_tile() -> None:
    torch.manual_seed(0)
    model = Lapped(CONFIG).eval()
    pixels, quality = torch.rand(1, 3, 128, 128) * 255, torch.tensor([50])
    with torch.no_grad():
        tiled = model(pixels, quality, exact=True, noise=False, tiles=2)
        anchors = quality_anchors(quality, CONFIG.anchors)
        y = model.analyse(pixels) * model.gains(anchors)[0]
        alone = [model.estimate(part[None], anchors, exact=True, noise=False) for part in into_tiles(y, 2)]
    bits = sum(float(channels.sum() + z.sum()) for _, channels, z in alone)
    assert abs(float(tiled.bits) - bits) < 1e-3 * bits
    assert tiled.output.shape == pixels.shape
