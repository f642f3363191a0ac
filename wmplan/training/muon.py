"""Muon: momentum whose every matrix is orthogonalised before it is added, so that rare directions are learned too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, iterations: int = 5, dtype: torch.dtype | None = None) -> Tensor:
    """Nearly the orthogonal factor U V^T of the matrix U S V^T, by a quintic Newton-Schulz iteration.

    Singular values end between 0.7 and 1.2, which is as good for training as 1 and needs only products, be they of
    bfloat16 (as in Jordan's own).
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = (wide / (wide.norm() + 1e-7)).to(dtype or matrix.dtype)
    for _ in range(iterations):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


class Muon(Optimizer):
    """Muon for matrices (Jordan et al. 2024), AdamW for the rest, with one learning rate for both.

    A matrix's step has the root mean square of an AdamW step (Liu et al. 2025, Muon is scalable, eq. 4), so that
    learning rates and weight decay mean what they mean there. A convolution is the matrix of its output channels.
    The direction of a latent loss that moves least, such as a block's angle beside its position, gets as large a step
    as that which moves most.

    Args:
        parameters: what is trained, or groups of it with settings of their own.
        lr: learning rate.
        weight_decay: decoupled, as AdamW's.
        momentum: of the matrices, with Nesterov's look-ahead.
        betas, eps: of Adam.
        largest: matrices with more rows and columns than this take AdamW's step: orthogonalising them costs more than
            a small model's own pass.
        bfloat16: orthogonalise in bfloat16.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        largest: int = 256,
        bfloat16: bool = False,
    ) -> None:
        defaults = dict(
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            betas=betas,
            eps=eps,
            largest=largest,
            bfloat16=bfloat16,
        )
        super().__init__(parameters, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state that was saved, be it from before there was a choice of type."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("bfloat16", False)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step on the gradients there are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                matrix = parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[None]
                update = self.muon if 1 < min(matrix.shape) <= group["largest"] else self.adam
                update(parameter, group)

    def muon(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """A step along the orthogonalised momentum."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        matrix = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
        size = 0.2 * math.sqrt(max(matrix.shape))
        dtype = torch.bfloat16 if group["bfloat16"] else None
        parameter.add_(orthogonalise(matrix, dtype=dtype).view_as(parameter), alpha=-group["lr"] * size)

    def adam(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """A step of Adam (Kingma & Ba 2015)."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(parameter.grad, 1 - first)
        state["square"].lerp_(parameter.grad.square(), 1 - second)
        steps = float(state["step"])
        scale = (state["square"] / (1 - second**steps)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - first**steps))
