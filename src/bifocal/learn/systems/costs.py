"""What a codec costs, of any registered system."""

from __future__ import annotations

import torch

from bifocal.learn.nets.codec import DECODER_PARTS, CodecConfig
from bifocal.learn.nets.cost import Cost, count
from bifocal.learn.systems.registry import system_of

SIDE = 256


def codec_cost(config: CodecConfig) -> tuple[list[Cost], float, tuple[str, ...]]:
    """A codec's parts; the thousands of multiply-adds a pixel of decoding, and the parts that it runs.

    Fixed transforms, the last row, run once on each side: decoding has half of them.
    """
    model = system_of(config).codec(config)
    pixels, quality = torch.zeros(1, 3, SIDE, SIDE), torch.tensor([50])
    rows = count(model, lambda: model(pixels, quality, exact=False, noise=False), SIDE * SIDE)
    decode = sum(row.kmac for row in rows if row.part in DECODER_PARTS) + rows[-1].kmac / 2
    return rows, decode, DECODER_PARTS
