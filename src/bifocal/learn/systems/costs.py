"""What a codec costs, of any registered system."""

from __future__ import annotations

import torch
from torch import Tensor

from bifocal.learn.nets.codec import DECODER_PARTS, Codec, CodecConfig, quality_anchors
from bifocal.learn.nets.cost import Cost, count
from bifocal.learn.systems.registry import system_of

SIDE = 256


def codec_cost(config: CodecConfig) -> tuple[list[Cost], float, tuple[str, ...]]:
    """A codec's parts; the thousands of multiply-adds a pixel of decoding, and the parts that it runs.

    Fixed transforms, the last row, run once on each side: decoding has half of them.
    """
    model = system_of(config).codec(config)
    pixels, quality = torch.zeros(1, 3, SIDE, SIDE), torch.tensor([50])
    if model.prior is None:  # in the place of the training pass: parts are counted by who calls them
        model.forward = lambda *_, **__: _run(model, pixels, quality)  # type: ignore[method-assign, assignment]
    rows = count(model, lambda: model(pixels, quality, exact=False, noise=False), SIDE * SIDE)
    decode = sum(row.kmac for row in rows if row.part in DECODER_PARTS) + rows[-1].kmac / 2
    return rows, decode, DECODER_PARTS


def _run(model: Codec, pixels: Tensor, quality: Tensor) -> None:
    """What encoder and decoder run: predictors over whole maps. A training pass leaves out what masks do."""
    anchors = quality_anchors(quality, model.config.anchors)
    y = model.analyse(pixels)
    features = model.hyper_features(model.hyper_latent(y), anchors, exact=False)
    for layers in model.group_predictors:
        x = torch.cat([features, y], 1)
        for layer in layers:
            x = layer(x, anchors, False)
    model.synthesise(y)
    model.synthesise_small(y)
