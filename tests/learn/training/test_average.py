"""The moving average of a network's weights, and of the statistics of its norms."""

from __future__ import annotations

import torch
from torch import nn

from bifocal.learn.training.average import Average


def test_statistics_of_norms_are_averaged_like_weights_and_other_buffers_copied() -> None:
    network = nn.BatchNorm2d(2)
    network.register_buffer("scale", torch.zeros(2))
    average = Average.of(network, 0.9, updates=None)
    with torch.no_grad():
        for value in (network.weight, network.running_mean, network.running_var, network.scale):
            assert isinstance(value, torch.Tensor)
            value.fill_(11.0)
    assert network.num_batches_tracked is not None
    network.num_batches_tracked.fill_(5)
    average.update(network)
    kept = average.model.state_dict()
    assert torch.allclose(kept["weight"], torch.full((2,), 2.0))  # from 1 a tenth of the way to 11
    assert torch.allclose(kept["running_mean"], torch.full((2,), 1.1))
    assert torch.allclose(kept["running_var"], torch.full((2,), 2.0))
    assert torch.equal(kept["scale"], network.scale)
    assert kept["num_batches_tracked"] == 5


def test_the_average_of_a_drifting_network_keeps_its_answers() -> None:
    """The statistics of the last batches fit the weights of the last step, not their average."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    x = torch.randn(64, 3, 4, 4)
    for _ in range(50):
        network(x)
    average = Average.of(network, 0.99, updates=None)
    before = average.model(x)
    convolution = network[0]
    assert isinstance(convolution, nn.Conv2d)
    for _ in range(20):  # weights grow fast, and with them the variance after them
        with torch.no_grad():
            convolution.weight *= 1.2
        network(x)
        average.update(network)
    assert torch.nn.functional.cosine_similarity(average.model(x), before, dim=1).mean() > 0.9
    assert 0.5 < average.model(x).std() / before.std() < 2
