"""Labels from streams: what a head sees, what it never sees, and what is not even on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import bifocal
from bifocal.errors import DamagedStream, HeadError, LatentsError, ModelMissing
from bifocal.runtime.heads import classify as reading
from bifocal.runtime.heads.classify import answer, label_latents
from bifocal.runtime.heads.windows import read_latents
from bifocal.stream import container
from bifocal.stream.coder import COST_UNIT, TileDecoder
from bifocal.stream.latents import unpack
from tests.conftest import made_picture
from tests.tiny_head import CHANNELS, CLASSES, bits_head, dense_head, matrix, selecting_head, telling_head
from tests.tiny_model import Y


@pytest.fixture
def fingerprint(tiny_model: bifocal.Model) -> bytes:
    return tiny_model.entropy.fingerprint


@pytest.fixture
def dense(tmp_path: Path, fingerprint: bytes) -> bifocal.Head:
    return bifocal.Head.load(dense_head(tmp_path / "dense.bfh", fingerprint), threads=1)


def floats(data: bytes, model: bifocal.Model) -> NDArray[np.float64]:
    """y of the whole stream as the synthesis gets it, of the picture's true size."""
    latents = unpack(data, model.entropy, model.engine)
    h, w = -(-latents.height // 16), -(-latents.width // 16)
    return model.to_float(latents.y, latents.quality)[:, :h, :w].astype(np.float64)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    chances = np.exp(logits - logits.max())
    return chances / chances.sum()


@pytest.mark.parametrize("quality", [1, 40, 100])
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (70, 50), (17, 200), (130, 300)])
@pytest.mark.parametrize("tile", [64, 2048])
def test_labels_are_the_mean_over_the_true_size(
    tiny_model: bifocal.Model, dense: bifocal.Head, size: tuple[int, int], quality: int, tile: int
) -> None:
    data = bifocal.encode(made_picture(*size), quality, model=tiny_model, tile=tile)
    labels = bifocal.analyse(data, head=dense, model=tiny_model)
    y = floats(data, tiny_model)[:CHANNELS]
    expected = softmax(y.mean(axis=(1, 2)) @ matrix().astype(np.float64))
    order = np.argsort(-expected)
    assert labels.names == tuple(CLASSES[k] for k in order)
    np.testing.assert_allclose(labels.probabilities, expected[order], rtol=2e-4)
    assert labels.probabilities.dtype == np.float32 and labels.head == "tiny" and labels.kept == ()


def test_what_lies_beyond_the_picture_does_not_count(tiny_model: bifocal.Model, dense: bifocal.Head) -> None:
    data = bifocal.encode(made_picture(40, 70), 60, model=tiny_model)
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    before = label_latents(latents, tiny_model, dense)
    latents.y[:, 3:], latents.y[:, :, 5:] = 1000, -1000
    assert label_latents(latents, tiny_model, dense) == before
    latents.y[0, 2, 4] += 1000
    assert label_latents(latents, tiny_model, dense) != before


def test_picture_labels_and_both_agree(tiny_model: bifocal.Model, dense: bifocal.Head) -> None:
    alpha = np.full((90, 150), 77, np.uint8)
    picture = bifocal.Picture(made_picture(90, 150), {"icc": b"profile"}, alpha)
    data = bifocal.encode(picture, 50, model=tiny_model, tile=64)
    both, labels = bifocal.decode_and_analyse(data, head=dense, model=tiny_model)
    assert both == bifocal.decode(data, model=tiny_model)
    assert labels == bifocal.analyse(data, head=dense, model=tiny_model)
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    assert labels == bifocal.analyse(latents, head=dense, model=tiny_model)


@pytest.mark.parametrize("size", [(64, 64), (130, 300)])
def test_a_head_may_say_what_each_part_says(
    tiny_model: bifocal.Model, fingerprint: bytes, tmp_path: Path, size: tuple[int, int]
) -> None:
    head = bifocal.Head.load(telling_head(tmp_path / "a.bfh", fingerprint), threads=1)
    data = bifocal.encode(made_picture(*size), 50, model=tiny_model, tile=64)
    labels = bifocal.analyse(data, head=head, model=tiny_model, evidence=True)
    y = floats(data, tiny_model)[:CHANNELS]
    said_there = np.einsum("chw,ck->khw", y, matrix().astype(np.float64))
    rows = np.arange(said_there.shape[1])
    rows -= rows % 4 % 2  # tiles of four rows, of which the head's map has every second one
    order = [CLASSES.index(name) for name in labels.names]
    assert labels.evidence is not None and labels.evidence.dtype == np.float32
    np.testing.assert_allclose(labels.evidence, said_there[order][:, rows], atol=1e-3)
    without = bifocal.analyse(data, head=head, model=tiny_model)
    assert without.evidence is None and without != labels and without.names == labels.names
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    assert bifocal.analyse(latents, head=head, model=tiny_model, evidence=True) == labels
    assert bifocal.decode_and_analyse(data, head=head, model=tiny_model, evidence=True)[1] == labels


def test_too_much_evidence_is_not_collected(
    tiny_model: bifocal.Model, fingerprint: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = bifocal.Head.load(telling_head(tmp_path / "a.bfh", fingerprint), threads=1)
    data = bifocal.encode(made_picture(64, 64), 50, model=tiny_model)
    monkeypatch.setattr(reading, "MAX_EVIDENCE", 47)
    assert bifocal.analyse(data, head=head, model=tiny_model, evidence=True).evidence is None


def test_a_file_is_read_like_bytes(tiny_model: bifocal.Model, dense: bifocal.Head, tmp_path: Path) -> None:
    data = bifocal.encode(made_picture(60, 60), model=tiny_model)
    (tmp_path / "a.bfc").write_bytes(data)
    with open(tmp_path / "a.bfc", "rb") as file:
        labels = bifocal.analyse(file, head=dense, model=tiny_model)
    assert labels == bifocal.analyse(memoryview(data), head=dense, model=tiny_model)


def test_synthesis_need_not_exist(tiny_folder: Path, tmp_path: Path, dense: bifocal.Head) -> None:
    from safetensors.numpy import load_file, save_file

    data = bifocal.encode(made_picture(80, 80), model=tiny_folder)
    expected = bifocal.analyse(data, head=dense, model=tiny_folder)
    folder = tmp_path / "reader"
    shutil.copytree(tiny_folder, folder)
    for name in ("synthesis", "half", "thumb", "adjoint", "analysis", "hyper_analysis"):
        (folder / f"{name}.onnx").unlink()
    tensors = load_file(folder / "weights.safetensors")
    pixels = ("synthesis.", "half.", "thumb.", "analysis.", "hyper_analysis.")
    left = {key: value for key, value in tensors.items() if not key.startswith(pixels)}
    assert len(left) < len(tensors)
    save_file(left, folder / "weights.safetensors")
    assert bifocal.analyse(data, head=dense, model=folder) == expected


def test_entropy_decoding_stops_where_the_head_has_enough(
    tiny_model: bifocal.Model, fingerprint: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bifocal.encode(made_picture(64, 64), model=tiny_model)
    taken: list[int] = []
    take = TileDecoder.take

    def counted(self: TileDecoder, index: NDArray[np.uint8]) -> NDArray[np.int32]:
        taken.append(len(index))
        return take(self, index)

    monkeypatch.setattr(TileDecoder, "take", counted)
    for channels, groups in ((4, 2), (5, 6), (Y, 6)):
        head = dense_head(tmp_path / f"{channels}.bfh", fingerprint, channels=channels)
        taken.clear()
        bifocal.analyse(data, head=head, model=tiny_model)
        assert len(taken) == 1 + groups  # z, then the groups


def test_windows_never_cross_a_tile_nor_exceed_the_window(
    tiny_model: bifocal.Model, fingerprint: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    run = bifocal.Head.run

    def watched(self: bifocal.Head, values: NDArray[np.float32], bits: NDArray[np.float32]) -> object:
        seen.append(values.shape[1:])
        return run(self, values, bits)

    monkeypatch.setattr(bifocal.Head, "run", watched)
    data = bifocal.encode(made_picture(170, 330), model=tiny_model, tile=128)
    head = dense_head(tmp_path / "a.bfh", fingerprint, window=6)
    bifocal.analyse(data, head=head, model=tiny_model)
    # 11 × 21 positions in tiles of 8: 8 = 4 + 4, 3 below, 5 at the right
    assert sorted(set(seen)) == [(3, 4), (3, 5), (4, 4), (4, 5)]
    assert sum(h * w for h, w in seen) == 11 * 21
    seen.clear()
    blocks = dense_head(tmp_path / "b.bfh", fingerprint, window=8, multiple=4)
    bifocal.analyse(data, head=blocks, model=tiny_model)
    assert set(seen) == {(8, 8), (4, 8)}
    assert sum(h * w for h, w in seen) == 12 * 24


def test_bits_are_what_the_symbols_cost(tiny_model: bifocal.Model) -> None:
    data = bifocal.encode(made_picture(70, 200), model=tiny_model, tile=64)
    some, every = read_latents(data, tiny_model, CHANNELS), read_latents(data, tiny_model)
    assert some.y.shape == (CHANNELS, 5, 13) and some.bits.shape == (5, 13)
    assert np.array_equal(some.y, every.y[:CHANNELS])
    assert np.array_equal(every.y, floats(data, tiny_model).astype(np.float32))
    assert (some.bits <= every.bits).all() and (some.bits % COST_UNIT == 0).all()
    payload = 8 * sum(tile.length for tile in container.read(data).tiles)
    assert 0 < every.bits.sum() < payload


def reference(y: NDArray[np.float64], package: bool) -> tuple[NDArray[np.float64], list[NDArray[np.bool_]]]:
    """Logits and kept maps of the selecting head on one window, written anew."""
    c, h, w = y.shape
    places = y.reshape(c, -1).T
    tokens = [("class", places.mean(0))] + [(str(k), place) for k, place in enumerate(places)]
    maps = []
    for channel in (0, 1):
        scores = [1 / (1 + np.exp(-token[channel])) for _, token in tokens]
        kept, lost = [], []
        for (name, token), score in zip(tokens, scores, strict=True):
            stays = name == "class" or (score >= 0.5 and name != "package")
            (kept if stays else lost).append((name, token, score))
        tokens = [(name, token) for name, token, _ in kept]
        if package and lost:
            total = sum(score for *_, score in lost)
            tokens.append(("package", sum(score * token for _, token, score in lost) / total))
        alive = {name for name, _ in tokens}
        maps.append(np.array([str(k) in alive for k in range(h * w)]).reshape(h, w))
    return np.mean([token for _, token in tokens], axis=0) @ matrix().astype(np.float64), maps


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_selectors_prune_and_package_as_written_down(
    fingerprint: bytes, tmp_path: Path, package: bool, seed: int
) -> None:
    head = bifocal.Head.load(selecting_head(tmp_path / "s.bfh", fingerprint, package=package), threads=1)
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(CHANNELS, *rng.integers(1, 8, 2))).astype(np.float32)
    said = answer(head, y)
    logits, maps = reference(y.astype(np.float64), package)
    np.testing.assert_allclose(said.logits, logits, rtol=1e-4, atol=1e-5)
    assert len(said.kept) == 2 and all(map(np.array_equal, said.kept, maps))


@pytest.mark.parametrize("sign", [-1, 1])
def test_all_or_nothing_may_be_kept(fingerprint: bytes, tmp_path: Path, sign: int) -> None:
    head = bifocal.Head.load(selecting_head(tmp_path / "s.bfh", fingerprint), threads=1)
    y = np.full((CHANNELS, 3, 2), 200.0 * sign, np.float32)  # scores 0 and 1: a package without any weight
    said = answer(head, y)
    assert all((kept == (sign > 0)).all() for kept in said.kept)
    np.testing.assert_allclose(said.logits, y[:, 0, 0] @ matrix().astype(np.float32), rtol=1e-4)


def test_kept_maps_cover_a_picture_of_many_windows(
    tiny_model: bifocal.Model, fingerprint: bytes, tmp_path: Path
) -> None:
    head = selecting_head(tmp_path / "s.bfh", fingerprint, window=5)
    data = bifocal.encode(made_picture(170, 330), model=tiny_model, tile=128)
    labels = bifocal.analyse(data, head=head, model=tiny_model)
    y = floats(data, tiny_model)
    assert [kept.shape for kept in labels.kept] == [(11, 21)] * 2 and labels.token == 16
    assert np.array_equal(labels.kept[0], y[0] >= 0)
    assert np.array_equal(labels.kept[1], (y[0] >= 0) & (y[1] >= 0))


def test_a_head_may_select_by_bits(tiny_model: bifocal.Model, fingerprint: bytes, tmp_path: Path) -> None:
    data = bifocal.encode(made_picture(70, 200), model=tiny_model, tile=64)
    bits = read_latents(data, tiny_model, CHANNELS).bits
    least = float(np.median(bits))
    head = bits_head(tmp_path / "b.bfh", fingerprint, least=least)
    labels = bifocal.analyse(data, head=head, model=tiny_model)
    assert np.array_equal(labels.kept[0], bits >= least)
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    assert bifocal.analyse(latents, head=head, model=tiny_model) == labels
    assert bifocal.decode_and_analyse(data, head=head, model=tiny_model)[1] == labels


def test_streams_that_cannot_be_read_are_refused(
    tiny_model: bifocal.Model, dense: bifocal.Head, fingerprint: bytes, tmp_path: Path
) -> None:
    data = bifocal.encode(made_picture(64, 64), model=tiny_model)
    with pytest.raises(ModelMissing, match="not installed"):
        bifocal.analyse(data, head=dense)
    broken = bytearray(data)
    broken[-3] ^= 1
    with pytest.raises(DamagedStream, match="tile 0"):
        bifocal.analyse(bytes(broken), head=dense, model=tiny_model)
    other = dense_head(tmp_path / "o.bfh", b"8 bytes!", codec="some other")
    for read in (bifocal.analyse, bifocal.decode_and_analyse):
        with pytest.raises(HeadError, match="reads streams of model some other .*bifocal-train head"):
            read(data, head=other, model=tiny_model)
    greedy = dense_head(tmp_path / "g.bfh", fingerprint, channels=Y + 1)
    with pytest.raises(HeadError, match=f"asks for {Y + 1} channels"):
        bifocal.analyse(data, head=greedy, model=tiny_model)
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    with pytest.raises(HeadError, match="some other"):
        bifocal.analyse(latents, head=other, model=tiny_model)
    wrong = bifocal.types.Latents(
        latents.y, latents.z, 200, 200, False, 60, 2048, latents.model, latents.fingerprint
    )
    with pytest.raises(LatentsError, match="200×200"):
        bifocal.analyse(wrong, head=dense, model=tiny_model)
    foreign = bifocal.types.Latents(latents.y, latents.z, 64, 64, False, 60, 2048, "another", b"8 bytes!")
    with pytest.raises(LatentsError, match="of model another"):
        bifocal.analyse(foreign, head=dense, model=tiny_model)
