"""A start from a head that is trained already: its convolutions, for a new head of other classes.

A ``.bfh`` holds what a runtime needs: batch norms are folded into the convolutions before them. Here they
become norms again that compute just that, with the statistics of the new pictures, so that training goes on.
"""

from __future__ import annotations

import os
from typing import Any

import onnx
import onnx.numpy_helper
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bifocal.errors import HeadError
from bifocal.learn.nets.heads.latent_stem import LatentResNet, NormBlock
from bifocal.runtime.heads.file import HeadFile, head_path, read_head
from bifocal.runtime.model import Model

#: Learning rates of a run that starts from another head, as a share of those from nothing.
START_RATE = 0.3


@torch.no_grad()
def take_over(network: LatentResNet, name: str | os.PathLike[str], model: Model, y: Tensor) -> None:
    """Give ``network`` all weights of the head ``name`` but those of its classes.

    :param name: a shipped head, or the file of another.
    :param model: the codec that ``network`` will read.
    :param y: latents ``[n, c, h, w]`` of the new pictures, for the statistics of norms.
    :raises HeadError: if there is no such head, it reads other streams, or has another network.
    """
    path = head_path(name)
    file = read_head(path)
    spec, weights = file.spec, _weights(file)
    if spec.fingerprint != model.entropy.fingerprint.hex() or spec.reads != "latents":
        raise HeadError(
            f"head {spec.name} reads streams of model {spec.codec}, and this one shall read those of "
            f"{model.name}. Start from a head for that model, or leave --start out."
        )

    def take(target: Tensor, *names: str) -> None:
        found = next((weights[n] for n in (f"network.{n}" for n in names) if n in weights), None)
        if found is None or found.shape != target.shape:
            raise HeadError(
                f"head {spec.name} has another network than a new head of {spec.channels} channels would "
                "have. Start from one that bifocal-train head made, with the same --channels and no --keep."
            )
        target.copy_(torch.from_numpy(found.copy()))

    take(network.stem.mean, "stem.mean")
    take(network.stem.std, "stem.std")
    norms = _folded(network)
    for norm, (conv, prefix) in norms.items():
        take(conv.weight, f"{prefix}.weight")
        bias = norm.bias if conv.bias is None else conv.bias
        take(bias, f"{prefix}.weight_bias", f"{prefix}.bias")
        norm.reset_running_stats()  # the identity, but for the bias
    seen: dict[nn.BatchNorm2d, tuple[Tensor, Tensor]] = {}

    def watch(norm: nn.Module, inputs: tuple[Tensor, ...], _: Any) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        seen[norm] = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))

    hooks = [norm.register_forward_hook(watch) for norm in norms]
    network.eval()(y)
    for hook in hooks:
        hook.remove()
    for norm, (mean, var) in seen.items():
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_((var + norm.eps).sqrt())
        norm.bias.add_(mean)
    network.train()


def _weights(file: HeadFile) -> dict[str, NDArray[Any]]:
    """All weights by name: those beside the graphs, and small ones, which stay in them."""
    found: dict[str, NDArray[Any]] = {}
    for graph, beside in zip(file.graphs, file.weights, strict=True):
        found |= {name.removeprefix("head."): array for name, array in beside.items()}
        for tensor in onnx.load_from_string(graph).graph.initializer:
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                found[tensor.name] = onnx.numpy_helper.to_array(tensor)
    return found


def _folded(network: LatentResNet) -> dict[nn.BatchNorm2d, tuple[nn.Conv2d, str]]:
    """Each norm with the convolution that a packed head folds it into, and that one's name."""
    stem = network.stem
    found = {stem.norm: (stem.first, "stem.first"), network.norm: (stem.last, "stem.last")}
    for prefix, blocks in (("stem.blocks", stem.blocks), ("blocks", network.blocks)):
        for number, block in enumerate(blocks):
            assert isinstance(block, NormBlock)
            found[block.first_norm] = block.first, f"{prefix}.{number}.first"
            found[block.second_norm] = block.second, f"{prefix}.{number}.second"
    return found
