"""SELIC: every arm starts as the same codec, what is fused, and a caption that the decoder uses exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bifocal.errors import ModelError, ModelMissing, TrainingError
from bifocal.learn.data.captions import word_counts
from bifocal.learn.data.crops import Corpus, crops, numbered_crops
from bifocal.learn.nets.codec import quality_anchors
from bifocal.learn.nets.cost import count
from bifocal.learn.packing.codec import entropy_model
from bifocal.learn.systems.selic import PAPER, SOURCES, Selic, SelicConfig, with_caption
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import encode_latents, unpack
from tests.conftest import made_picture
from tests.contract.tiny_systems import TINY

CONFIG = SelicConfig(**TINY["selic"])
PIXELS = torch.from_numpy(made_picture(64, 128)).permute(2, 0, 1)[None].float()
QUALITY = torch.tensor([60])


def codec_of(source: str, seed: int = 0) -> Selic:
    torch.manual_seed(seed)
    return Selic(replace(CONFIG, source=source)).eval()


def shaken(model: Selic) -> Selic:
    """With weights where training starts at zero."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(("fusion.last.weight", "words.hyper")):
                value.copy_(torch.randn_like(value) * 0.3)
    return model


def test_every_arm_starts_as_the_codec_without_captions() -> None:
    outputs = []
    for source in SOURCES:
        model = codec_of(source)
        plain = codec_of("none")
        model.load_state_dict({**model.state_dict(), **plain.state_dict()})
        model.describe(torch.ones(1, CONFIG.text))
        outputs.append(model(PIXELS, QUALITY, exact=True, noise=False))
    for coded in outputs[1:]:
        assert torch.equal(coded.output, outputs[0].output) and torch.equal(coded.bits, outputs[0].bits)
    with pytest.raises(ModelError, match="no source"):
        SelicConfig(source="magic")


def test_only_the_arms_that_read_a_caption_depend_on_it() -> None:
    for source in SOURCES:
        model, found = shaken(codec_of(source)), []
        for features in (None, torch.zeros(1, CONFIG.text), torch.arange(1.0, CONFIG.text + 1)[None]):
            model.describe(features)
            with torch.no_grad():
                y = model.analyse(PIXELS)
                z = model.hyper_features(torch.zeros(1, 4, 1, 2), quality_anchors(QUALITY, 12), True)
                found.append((y, z, model.synthesise(y)))
        same = [all(torch.equal(a, b) for a, b in zip(found[0], one, strict=True)) for one in found[1:]]
        assert same[1] == (source not in ("text", "transmitted")), source


def test_the_pooled_branch_has_as_many_weights_as_the_projection() -> None:
    text, pooled = Selic(SelicConfig()), Selic(SelicConfig(source="pooled"))
    sizes = [
        sum(p.numel() for p in model.condition.parameters()) for model in (text, pooled) if model.condition
    ]
    assert abs(sizes[0] - sizes[1]) / sizes[0] < 0.02


def test_a_transmitted_caption_is_exact_in_integers_and_part_of_the_model() -> None:
    model = shaken(codec_of("transmitted"))
    entropy = entropy_model(model, "tiny", "0.5.0", ())
    counts = word_counts(["a red cup on a table"], CONFIG.text)
    mine = with_caption(entropy, model, counts)
    assert (
        mine.fingerprint != entropy.fingerprint and with_caption(entropy, codec_of("text"), counts) is entropy
    )
    model.describe(counts)
    rng = np.random.default_rng(0)
    z = rng.integers(-30, 31, (4, 1, 2)).astype(np.int32)
    with torch.no_grad():
        wanted = model.hyper_features(torch.from_numpy(z)[None].float(), quality_anchors(QUALITY, 12), True)
        y = model.analyse(PIXELS)
    engine = NumpyEngine("int64")
    np.testing.assert_array_equal(engine(mine.hyper, z, 60), (wanted[0] * 16).numpy())
    data, latents = encode_latents(
        y[0].numpy(), z, width=128, height=64, gray=False, quality=60, tile=2048, model=mine, engine=engine
    )
    assert unpack(data, mine, engine) == latents
    with pytest.raises(ModelMissing):
        unpack(data, entropy, engine)


def test_tiles_of_a_picture_share_its_caption() -> None:
    model = shaken(codec_of("transmitted"))
    model.describe(word_counts(["a red cup"], CONFIG.text))
    pixels = PIXELS.repeat(1, 1, 2, 1)
    assert model(pixels, QUALITY, exact=True, noise=True, tiles=2).output.shape == pixels.shape


def test_crops_know_their_pictures() -> None:
    pictures = tuple(np.full((size, 20, 3), 10 * n, np.uint8) for n, size in enumerate((20, 8, 20)))
    corpus = Corpus(pictures, (), ("a", "b", "c"))
    made = numbered_crops(corpus, size=16, batch=8, seed=1, gray=0.0)
    part, numbers = next(made)
    assert torch.equal(part[:, 0, 0, 0], 10.0 * numbers) and set(numbers.tolist()) == {0, 2}
    assert torch.equal(next(crops(corpus, size=16, batch=8, seed=1, gray=0.0)), part)


def test_the_layers_that_fuse_are_counted() -> None:
    assert PAPER.plan.y_stride == 32 and PAPER.plan.y_channels == 4 * PAPER.high
    tiny = codec_of("text")
    parts = count(tiny, lambda: tiny(PIXELS, QUALITY, exact=False, noise=False), 64 * 128)
    assert {"fusion", "condition"} <= {row.part for row in parts}


def test_a_codec_without_captions_takes_none() -> None:
    from bifocal.learn.recipe import Recipe
    from bifocal.learn.systems.dual import Dual, DualConfig
    from bifocal.learn.training.described import described_batches

    model = Dual(DualConfig(**TINY["dual"]))
    corpus = Corpus((np.zeros((64, 64, 3), np.uint8),), (), ("a",))
    made = described_batches(model, corpus, Recipe("x", crop=64), 0, "cpu", lambda names: torch.zeros(1, 4))
    with pytest.raises(TrainingError, match="takes no captions"):
        next(made)
