"""What keeps latents from collapsing, and the other terms a world model is trained with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wmplan.training.ranks import WHOLE, Share


def sigreg(
    latents: Tensor, generator: torch.Generator, num_slices: int = 64, num_knots: int = 17, share: Share = WHOLE
) -> Tensor:
    """Sketched isotropic Gaussian regularisation: how far random projections are from a standard normal.

    The Epps-Pulley statistic of each projection, by quadrature over [-3, 3] with a Gaussian weight (LeJEPA,
    Balestriero & LeCun 2025, section 4).

    Args:
        latents: of shape (N, D).
        generator: draws the directions, so that a run can be repeated.
        share: of the batch that the latents are; the statistic is that of all processes' rows.

    Returns:
        A scalar that is 0 for a perfect fit and grows with N.
    """
    directions = torch.randn(latents.shape[1], num_slices, generator=generator)
    projected = latents @ (directions / directions.norm(dim=0)).to(latents)  # (N, num_slices)
    knots = torch.linspace(-3.0, 3.0, num_knots, device=latents.device)
    normal = torch.exp(-0.5 * knots**2)  # the characteristic function of N(0, 1), and the weight
    phase = projected.unsqueeze(-1) * knots  # (N, num_slices, num_knots)
    error = (share.mean(phase.cos()) - normal).square() + share.mean(phase.sin()).square()
    return share.count(latents) * torch.trapezoid(error * normal, knots, dim=-1).mean()


def variance_covariance(latents: Tensor, share: Share = WHOLE) -> tuple[Tensor, Tensor]:
    """The two terms of VICReg (Bardes, Ponce & LeCun 2022) that keep latents spread out.

    Args:
        latents: of shape (N, D).
        share: of the batch that they are; both terms are of all processes' rows.

    Returns:
        The hinge on each dimension's standard deviation below one, averaged over D; and the sum of the squared
        covariances off the diagonal, over D.
    """
    centred = latents - share.mean(latents)
    covariance = share.sum(centred.T @ centred) / max(share.count(latents) - 1, 1)  # (D, D)
    variance = torch.diagonal(covariance)
    hinge = (1.0 - torch.sqrt(variance + 1e-4)).clamp(min=0).mean()
    return hinge, (covariance.square().sum() - variance.square().sum()) / latents.shape[1]


def contrastive_prediction(predicted: Tensor, targets: Tensor, share: Share = WHOLE) -> Tensor:
    """InfoNCE over a batch: which of all targets each prediction is of (CPC, van den Oord, Li & Vinyals 2018, eq. 4).

    A logit is minus the squared distance, without a temperature: the variance term keeps the latents' scale at one.
    Variance and covariance are met by any D smooth functions of what is seen, and do not ask that states which are
    rare or look much alike be told apart; this does.

    Args:
        predicted: of shape (N, D).
        targets: of shape (N, D); row i is what row i of `predicted` is of, and the others are what it is not.
        share: of the batch that they are; what a prediction is not are the targets of all processes.

    Returns:
        The cross-entropy, a mean over the own rows; log N where nothing is told apart, 0 where everything is.
    """
    first = share.offset(targets)
    targets = share.gather(targets)
    distances = (
        predicted.square().sum(-1, keepdim=True) - 2 * predicted @ targets.T + targets.square().sum(-1)
    )  # (N, N)
    return F.cross_entropy(-distances, torch.arange(first, first + len(predicted), device=predicted.device))


def effective_rank(latents: Tensor, share: Share = WHOLE) -> float:
    """How many dimensions the latents (N, D) really use: exp of the entropy of their normalised spectrum.

    Roy & Vetterli 2007, on the eigenvalues of the covariance: D for isotropic latents, 1 for a line, 0 for a point.

    Args:
        share: of a batch that the latents are; the rank is that of all processes' rows.
    """
    latents = share.gather(latents).detach().cpu()  # Apple's GPUs have no float64
    spectrum = torch.linalg.svdvals((latents - latents.mean(0)).double()).square()
    total = spectrum.sum()
    if total <= 1e-12 * latents.numel():
        return 0.0
    part = spectrum / total
    return float(torch.exp(-(part * part.clamp_min(1e-30).log()).sum()))


@torch.no_grad()
def update_average(average: torch.nn.Module, module: torch.nn.Module, momentum: float) -> None:
    """Move the parameters of `average` towards those of `module`: the target encoder of BYOL and I-JEPA."""
    for target, source in zip(average.parameters(), module.parameters(), strict=True):
        target.lerp_(source, 1.0 - momentum)
