"""Entangled rows, and the integer network: equal to its floats, to its graph, and near the supernet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bifocal.errors import ModelError, OptionError
from bifocal.learn.search.entangled import EntangledLinear
from bifocal.learn.search.integer import (
    Carried,
    IntegerNetwork,
    Whole,
    folded,
    integer_network,
    logits,
    mixed_matrix,
    run,
)
from bifocal.learn.search.packing import pack_integer_head
from bifocal.learn.search.space import SearchSpace, Subnet
from bifocal.learn.search.supernet import Front, InputForm, Supernet
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model

SPACE = SearchSpace("s", (16, 24), (1, 2), (1, 2), (2, 3), (0.0, 0.5, 1.0), head_dim=8, patch=4, side=16)
SUBNET = Subnet(16, 2, (2, 1), (3, 2), ((0.5, 1.0, 0.5, 0.25), (0.0, 0.5, 1.0, 0.5)))
FORMS = {"latents": InputForm("latents", 12, 4), "pixels": InputForm("pixels", 48, 4, 4)}
CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module", params=sorted(FORMS))
def net(request: pytest.FixtureRequest) -> Supernet:
    """A supernet whose ranges have seen a few inputs."""
    torch.manual_seed(0)
    made = Supernet(SPACE, FORMS[request.param], len(CLASSES), torch.ones(12))
    for subnet in (SPACE.largest, SPACE.smallest, SUBNET):
        made(torch.from_numpy(inputs(made.form, 16)), subnet).sum().backward()
    return made.eval()


def inputs(form: InputForm, count: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    if form.reads == "latents":
        return rng.normal(size=(count, 12, 4, 4)).astype(np.float32)
    return rng.integers(0, 256, (count, 3, 16, 16)).astype(np.float32)


def test_integers_floats_and_graph_agree_bit_for_bit(
    net: Supernet, tiny_model: Model, tmp_path: Path
) -> None:
    x = inputs(net.form)
    integers = integer_network(net, SUBNET)
    wanted = logits(integers, x)
    with torch.no_grad():
        total = run(Carried(), integers, net.front(torch.from_numpy(x)).double()).numpy()
    held = (total * 2.0 ** -integers.head.fraction.astype(float)).astype(np.float32)
    assert np.array_equal(held, wanted)
    base = tiny_model if net.form.reads == "latents" else None
    packed = pack_integer_head(integers, name="found", classes=CLASSES, base=base)
    path = tmp_path / "found.bfh"
    path.write_bytes(packed.data())
    head = Head.load(path, threads=1)
    made = np.concatenate([one.arrays["logits"] for one in head.run_many(list(x))])
    assert np.array_equal(made, wanted)
    small = x[:1, :, : x.shape[2] // 2, : 3 * x.shape[3] // 4]
    assert np.array_equal(head.run(small[0]).arrays["logits"], logits(integers, small))
    with pytest.raises(OptionError, match="packed for a codec"):
        pack_integer_head(integers, name="x", classes=CLASSES, base=None if base else tiny_model)


def test_integers_are_near_the_supernet(net: Supernet) -> None:
    x = inputs(net.form, 16)
    with torch.no_grad():
        said = net(torch.from_numpy(x), SUBNET).numpy()
    assert np.abs(logits(integer_network(net, SUBNET), x) - said).mean() < 0.1 * np.abs(said).mean() + 0.05


def test_rows_of_four_bits_are_two_a_byte_in_the_file(net: Supernet) -> None:
    def stored(subnet: Subnet) -> int:
        return sum(matrix.bytes for _, matrix in integer_network(net, subnet).matrices())

    coarse, fine = (Subnet(16, 1, (1,), (2,), ((share,) * 4,)) for share in (0.0, 1.0))
    edges = 16 * (net.form.channels + len(CLASSES))  # embedding and last layer keep 8 bits
    assert stored(fine) - edges == 2 * (stored(coarse) - edges)


def test_a_sum_that_float32_does_not_hold_is_refused(net: Supernet) -> None:
    bias = net.head.bias.detach().clone()
    with torch.no_grad():
        net.head.bias.fill_(1e6)
    try:
        with pytest.raises(ModelError, match=r"sums of head may reach"):
            integer_network(net, SUBNET)
    finally:
        with torch.no_grad():
            net.head.bias.copy_(bias)


def test_the_four_bit_row_is_the_rounded_top_nibble() -> None:
    torch.manual_seed(0)
    layer = EntangledLinear(16, 12)
    with torch.no_grad():
        (_, fine), (_, rough) = layer.rows(12, 16, 1.0), layer.rows(12, 16, 0.0)
    assert torch.equal(rough.numbers, torch.floor(fine.numbers / 16 + 0.5).clamp(-7, 7))
    assert torch.equal(rough.fraction, fine.fraction - 4)
    largest = (fine.numbers.abs().amax(1), fine.numbers.abs().amax())
    assert largest[0].min() >= 64 and largest[1] <= 127  # the scale of a row fits it to a power of two


def test_rows_that_lose_most_keep_eight_bits_and_prefixes_share_their_scale() -> None:
    torch.manual_seed(1)
    layer = EntangledLinear(16, 8)
    with torch.no_grad():
        layer.weight[0, 3] *= 10  # a row whose rounding costs a hundred times as much
        layer.seen.fill_(1.0)
        _, found = layer.rows(8, 16, 1 / 8)
        _, narrow = layer.rows(8, 8, 1.0)
        _, wide = layer.rows(8, 16, 1.0)
    assert found.eight.nonzero().tolist() == [[3]]
    assert torch.equal(narrow.numbers, wide.numbers[:, :8]) and torch.equal(narrow.fraction, wide.fraction)


def test_gradients_pass_through_rounding_and_separate_rows_have_weights_of_their_own() -> None:
    layer = EntangledLinear(8, 8, scale=0.5, separate=True)
    layer(torch.randn(4, 8), rows=8, share=0.5).sum().backward()
    assert layer.coarse is not None and layer.scale is not None
    for weight in (layer.weight, layer.coarse, layer.scale):
        assert weight.grad is not None and bool(weight.grad.abs().sum() > 0)


def test_folding_the_permutation_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    numbers = [rng.integers(-7, 8, shape) for shape in ((10, 6), (4, 10))]
    eight = rng.random(10) < 0.5, np.array([True, False, True, False])
    zeros = [np.zeros(n, np.int64) for n in (10, 4)]
    first, second = (mixed_matrix(w, e, z, z + 3, 2) for w, e, z in zip(numbers, eight, zeros, strict=True))
    assert np.array_equal(first.numbers, numbers[0])
    moved = folded(first, second)
    assert np.array_equal(moved[0].order, np.arange(10))  # two dense blocks, no permutation is left
    x = rng.integers(-5, 6, (3, 6))
    made = (x @ moved[0].numbers.T) @ moved[1].numbers.T
    assert np.array_equal((x @ first.numbers.T) @ second.numbers.T, made)


def test_quiet_channels_are_not_magnified_until_they_saturate() -> None:
    front = Front(InputForm("latents", 3, 4), torch.tensor([0.0, 1.0, 32.0]))
    assert front.exponent.tolist() == [10, 5, 0]
    x = torch.tensor([0.01, -1.0, 1e4]).reshape(1, 3, 1, 1)  # a zero symbol's value; typical; far out
    assert front(x).flatten().tolist() == [10, -32, 127]


def test_shifts_of_both_signs_agree() -> None:
    x, shift = np.arange(-50, 50)[:, None], np.array([-2, 0, 1, 4])
    made = Whole().round_shift(x, shift)
    assert np.array_equal(made, np.floor(x * 2.0**-shift + 0.5))
    held = Carried().round_shift(torch.from_numpy(x).double(), shift)
    assert np.array_equal(made, held.numpy())


def test_an_integer_network_names_its_matrices(net: Supernet) -> None:
    made: IntegerNetwork = integer_network(net, SUBNET)
    names = [name for name, _ in made.matrices()]
    assert names[0] == "embed" and names[-1] == "head" and "blocks.1.fc2" in names
