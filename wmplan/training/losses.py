"""What keeps latents from collapsing, and the other terms a world model is trained with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sigreg(latents: Tensor, generator: torch.Generator, num_slices: int = 64, num_knots: int = 17) -> Tensor:
    """Sketched isotropic Gaussian regularisation: how far random projections are from a standard normal.

    The Epps-Pulley statistic of each projection, by quadrature over [-3, 3] with a Gaussian weight (LeJEPA,
    Balestriero & LeCun 2025, section 4).

    Args:
        latents: of shape (N, D).
        generator: draws the directions, so that a run can be repeated.

    Returns:
        A scalar that is 0 for a perfect fit and grows with N.
    """
    directions = torch.randn(latents.shape[1], num_slices, generator=generator)
    projected = latents @ (directions / directions.norm(dim=0)).to(latents)  # (N, num_slices)
    knots = torch.linspace(-3.0, 3.0, num_knots, device=latents.device)
    normal = torch.exp(-0.5 * knots**2)  # the characteristic function of N(0, 1), and the weight
    phase = projected.unsqueeze(-1) * knots  # (N, num_slices, num_knots)
    error = (phase.cos().mean(0) - normal).square() + phase.sin().mean(0).square()
    return latents.shape[0] * torch.trapezoid(error * normal, knots, dim=-1).mean()


def variance_covariance(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of VICReg (Bardes, Ponce & LeCun 2022) that keep latents spread out.

    Args:
        latents: of shape (N, D).

    Returns:
        The hinge on each dimension's standard deviation below one, averaged over D; and the sum of the squared
        covariances off the diagonal, over D.
    """
    centred = latents - latents.mean(0)
    covariance = centred.T @ centred / max(latents.shape[0] - 1, 1)  # (D, D)
    variance = torch.diagonal(covariance)
    hinge = (1.0 - torch.sqrt(variance + 1e-4)).clamp(min=0).mean()
    return hinge, (covariance.square().sum() - variance.square().sum()) / latents.shape[1]


def contrastive_prediction(predicted: Tensor, targets: Tensor) -> Tensor:
    """InfoNCE over a batch: which of all targets each prediction is of (CPC, van den Oord, Li & Vinyals 2018, eq. 4).

    A logit is minus the squared distance, without a temperature: the variance term keeps the latents' scale at one.
    Variance and covariance are met by any D smooth functions of what is seen, and do not ask that states which are
    rare or look much alike be told apart; this does.

    Args:
        predicted: of shape (N, D).
        targets: of shape (N, D); row i is what row i of `predicted` is of, and the others are what it is not.

    Returns:
        The cross-entropy; log N where nothing is told apart, 0 where everything is.
    """
    distances = (
        predicted.square().sum(-1, keepdim=True) - 2 * predicted @ targets.T + targets.square().sum(-1)
    )  # (N, N)
    return F.cross_entropy(-distances, torch.arange(len(predicted), device=predicted.device))


def effective_rank(latents: Tensor) -> float:
    """How many dimensions the latents (N, D) really use: exp of the entropy of their normalised spectrum.

    Roy & Vetterli 2007, on the eigenvalues of the covariance: D for isotropic latents, 1 for a line, 0 for a point.
    """
    spectrum = torch.linalg.svdvals((latents - latents.mean(0)).double()).square()
    total = spectrum.sum()
    if total <= 1e-12 * latents.numel():
        return 0.0
    share = spectrum / total
    return float(torch.exp(-(share * share.clamp_min(1e-30).log()).sum()))


@torch.no_grad()
def update_average(average: torch.nn.Module, module: torch.nn.Module, momentum: float) -> None:
    """Move the parameters of `average` towards those of `module`: the target encoder of BYOL and I-JEPA."""
    for target, source in zip(average.parameters(), module.parameters(), strict=True):
        target.lerp_(source, 1.0 - momentum)
