"""Embeddings of streams: of the true size, of length 1, and only of heads that give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

import bifocal
from bifocal.errors import HeadError
from bifocal.stream.latents import unpack
from tests.conftest import made_picture
from tests.tiny_head import CHANNELS, dense_head, graph_of, matrix, spec_of, write_head


def embedding_head(path: Path, fingerprint: bytes, *, kind: str = "embed", **changes: object) -> Path:
    """A head whose embedding is the mean of y over places times :func:`matrix`, and its logits, if any."""
    nodes = [
        helper.make_node("ReduceMean", ["y"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["embedding"]),
    ]
    outputs: dict[str, list[object]] = {"embedding": [1, 3]}
    if kind == "classify":
        nodes.append(helper.make_node("Identity", ["embedding"], ["logits"]))
        outputs["logits"] = [1, 3]
    else:
        changes = {"classes": None, **changes}
    graph = graph_of(nodes, {"y": [1, CHANNELS, "h", "w"]}, outputs, {"weight": (CHANNELS, 3)})
    return write_head(path, spec_of(fingerprint, kind=kind, **changes), [graph], {"weight": matrix()})


@pytest.mark.parametrize("kind", ["embed", "classify"])
@pytest.mark.parametrize(("size", "tile"), [((70, 50), 2048), ((130, 300), 64)])
def test_an_embedding_is_the_mean_over_the_true_size_at_length_one(
    tiny_model: bifocal.Model, tmp_path: Path, kind: str, size: tuple[int, int], tile: int
) -> None:
    head = bifocal.Head.load(embedding_head(tmp_path / "a.bfh", tiny_model.entropy.fingerprint, kind=kind))
    data = bifocal.encode(made_picture(*size), 60, model=tiny_model, tile=tile)
    made = bifocal.embed(data, head=head, model=tiny_model)
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    h, w = (-(-side // 16) for side in size)
    y = tiny_model.to_float(latents.y, 60)[:CHANNELS, :h, :w].astype(np.float64)
    expected: NDArray[np.float64] = y.mean((1, 2)) @ matrix().astype(np.float64)
    np.testing.assert_allclose(made, expected / np.linalg.norm(expected), atol=1e-5)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, bifocal.embed(latents, head=head, model=tiny_model))


def test_a_head_gives_what_it_has(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    fingerprint = tiny_model.entropy.fingerprint
    data = bifocal.encode(made_picture(40, 40), model=tiny_model)
    labels_alone = bifocal.Head.load(dense_head(tmp_path / "labels.bfh", fingerprint))
    with pytest.raises(HeadError, match="no embedding"):
        bifocal.embed(data, head=labels_alone, model=tiny_model)
    embedding_alone = bifocal.Head.load(embedding_head(tmp_path / "embed.bfh", fingerprint))
    with pytest.raises(HeadError, match="knows no classes"):
        bifocal.analyse(data, head=embedding_alone, model=tiny_model)


def test_labels_are_confident_from_what_the_card_says(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    data = bifocal.encode(made_picture(40, 40), model=tiny_model)
    for least in (0.25, 0.9):
        card = {"confident": {"at least": least}}
        file = dense_head(tmp_path / f"{least}.bfh", tiny_model.entropy.fingerprint, card=card)
        assert bifocal.analyse(data, head=file, model=tiny_model).trusted == least
    shares = np.array([0.6, 0.4], np.float32)
    for least, confident in ((0.5, True), (0.7, False)):
        assert bifocal.Labels(("one", "two"), shares, "tiny", trusted=least).confident is confident
