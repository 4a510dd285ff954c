"""The shipped head fits the shipped codec, and its card says what it is."""

import json

import numpy as np
import pytest

import bifocal
from bifocal.runtime.heads.file import DEFAULT_HEAD, HEADS, head_path, read_card, shipped_heads
from bifocal.runtime.model import DEFAULT_MODEL


@pytest.mark.parametrize("path", shipped_heads(), ids=lambda path: path.stem)
def test_a_shipped_head_is_small_named_and_has_a_card(path) -> None:  # type: ignore[no-untyped-def]
    spec = read_card(path)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert path.stat().st_size <= 6 * 2**20
    assert spec.name == path.stem
    assert all(name in card for name in spec.classes)
    for quality, share in spec.card["accuracy"].items():
        assert f"{100 * share:.1f} % at" in card, quality
    json.dumps(dict(spec.card))


def test_the_default_head_reads_streams_of_the_default_codec() -> None:
    model = bifocal.Model.load(DEFAULT_MODEL)
    spec = read_card(head_path(DEFAULT_HEAD))
    assert (HEADS / f"{DEFAULT_HEAD}.bfh").is_file()
    assert spec.fingerprint == model.entropy.fingerprint.hex() and spec.codec == DEFAULT_MODEL
    assert spec.channels == model.entropy.plan.groups[0].stop, "the low band alone: the cheapest to decode"
    for size in ((1, 1), (90, 500)):
        pixels = np.full((*size, 3), 128, np.uint8)
        labels = bifocal.analyse(bifocal.encode(pixels, 50, model=model))
        assert set(labels.names) == set(spec.classes) and abs(labels.probabilities.sum() - 1) < 1e-5
