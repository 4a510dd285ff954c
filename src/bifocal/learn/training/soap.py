"""SOAP: AdamW in a rotated basis of every kernel, in which gradients are nearly uncorrelated.

Vyas et al., arXiv 2409.11321; for learned image codecs arXiv 2601.20769. A kernel ``[o, i, k, k]`` has a
basis for its outputs and one for its inputs: the eigenvectors of the moving averages of ``G·Gᵀ`` and
``Gᵀ·G``. Adam's two moments live there. Ours: averages follow every second step, bases are renewed by one
step of orthogonal iteration, and the first moment is rotated along when they change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: A side with more entries keeps its own basis: its eigenvectors would cost more than they bring.
LARGEST_SIDE = 512


class Soap(torch.optim.Optimizer):
    """Adam's step in the eigenbases of each kernel's gradients; kernels of two dimensions or more.

    ``every`` is how many steps a basis is kept; ``memory`` what an average keeps of itself at each update.
    The first step only finds the bases.
    """

    #: How many steps lie between two updates of the averages.
    FOLLOW = 2

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        memory: float = 0.9,
        every: int = 10,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "memory": memory, "every": every, "eps": eps}
        super().__init__(params, {**defaults, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, _matrix(p.grad), group)

    def _step(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
            for mode, side in enumerate(SIDES):
                if p.shape[mode] <= LARGEST_SIDE:
                    state[side] = _products(gradient, mode)
                    state[f"{side}_basis"] = _eigenvectors(state[side])
            return
        state["step"] += 1
        count = int(state["step"])
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        turned = _turn(gradient, state)
        mean.lerp_(turned, 1 - first)
        square.mul_(second).addcmul_(turned, turned, value=1 - second)
        scale = (1 - second**count) ** 0.5 / (1 - first**count)
        move = mean / square.sqrt().add_(group["eps"] * (1 - second**count) ** 0.5)
        if group["weight_decay"]:
            p.mul_(1 - group["lr"] * group["weight_decay"])
        back = _turn(move, state, back=True).transpose(1, 2).reshape(p.shape)
        p.add_(back, alpha=-group["lr"] * scale)
        if count % self.FOLLOW == 0:
            for mode, side in enumerate(SIDES):
                if side in state:
                    state[side].lerp_(_products(gradient, mode), 1 - group["memory"])
        if count % group["every"] == 0:
            self._renew(state, mean, square)

    @staticmethod
    def _renew(state: dict[str, Any], mean: Tensor, square: Tensor) -> None:
        """Better bases, largest eigenvalues first; the moments follow."""
        plain = _turn(mean, state, back=True)
        for mode, side in enumerate(SIDES):
            if side not in state:
                continue
            basis = state[f"{side}_basis"]
            ahead = state[side] @ basis
            order = (basis * ahead).sum(0).argsort(descending=True)
            state[f"{side}_basis"] = torch.linalg.qr(ahead[:, order])[0].contiguous()
            square.copy_(square.index_select(-mode, order))  # outputs come first, inputs last
        mean.copy_(_turn(plain, state))

    @staticmethod
    def slots_of(p: Tensor) -> tuple[str, ...]:
        """What is remembered of ``p``."""
        large = tuple(side for mode, side in enumerate(SIDES) if p.shape[mode] > LARGEST_SIDE)
        return tuple(slot for slot in SLOTS if slot.removesuffix("_basis") not in large)

    @staticmethod
    def slot_shape(p: Tensor, slot: str) -> tuple[int, ...]:
        """The shape of what is remembered of ``p`` under this name."""
        if slot == "step":
            return ()
        side = slot.removesuffix("_basis")
        return (p.shape[SIDES.index(side)],) * 2 if side in SIDES else tuple(_matrix(p).shape)


#: The two sides of a kernel that have a basis: its outputs, its inputs.
SIDES = ("outputs", "inputs")
SLOTS = ("step", "exp_avg", "exp_avg_sq", *SIDES, *(f"{side}_basis" for side in SIDES))


def _matrix(kernel: Tensor) -> Tensor:
    """A kernel ``[o, i, k, k]`` as ``[o, k·k, i]``, without copying one whose channels are last in memory."""
    return kernel.reshape(*kernel.shape[:2], -1).transpose(1, 2)


def _eigenvectors(matrix: Tensor) -> Tensor:
    """Those of a symmetric matrix ``[n, n]``, largest eigenvalue first."""
    # in float64: a gradient of few samples leaves hundreds of eigenvalues near zero, on which float32 fails
    double = matrix.double() / matrix.diagonal().double().mean().clamp_min(1e-300)
    return torch.linalg.eigh(double)[1].flip(1).to(matrix.dtype).contiguous()


def _products(gradient: Tensor, mode: int) -> Tensor:
    """``G·Gᵀ`` of a gradient ``[o, k, i]`` over its outputs (``mode`` 0) or inputs (1)."""
    if mode == 0:
        rows = gradient.reshape(len(gradient), -1)
        return rows @ rows.T
    columns = gradient.reshape(-1, gradient.shape[2])
    return columns.T @ columns


def _turn(x: Tensor, state: dict[str, Any], *, back: bool = False) -> Tensor:
    """``x [o, k, i]`` in the bases of its sides, or back from them. In float32: gradients of flat directions
    are thousands of times smaller than others, and Adam makes steps of equal size of them."""
    shape = x.shape
    if (basis := state.get("outputs_basis")) is not None:
        x = (basis if back else basis.T) @ x.reshape(shape[0], -1)
    if (basis := state.get("inputs_basis")) is not None:
        x = x.reshape(-1, shape[2]) @ (basis.T if back else basis)
    return x.reshape(shape)
