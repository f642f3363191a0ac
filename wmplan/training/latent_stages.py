"""The later stages, on cached latents: they cost a fraction of the first, and a pretrained encoder needs no other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wmplan.data.reader import Reader
from wmplan.data.strip import Strip
from wmplan.data.symmetry import Symmetry
from wmplan.errors import UserError
from wmplan.models import JEPA
from wmplan.training.precision import bfloat16_products
from wmplan.training.ranks import WHOLE, Share
from wmplan.training.stage import Batch

FAR = 10.0  # model steps that pairs of different episodes are taken to be apart at least


@torch.no_grad()
def encode_episode(
    model: JEPA,
    store: Reader,
    index: int,
    symmetry: Symmetry | None = None,
    backgrounds: Mapping[str, Tensor] | None = None,
    strip: Strip | None = None,
    batch_size: int = 512,
) -> NDArray[np.float32]:
    """Latents of every row of one episode, or of its copy under a symmetry, of shape (rows, L).

    Args:
        backgrounds: of each camera (H, W, 3), for a symmetry that leaves them in place.
        strip: before the cameras.
    """
    uses_proprio = model.spec.proprio_dim > 0
    cameras = model.spec.cameras
    episode = store.episode(index, (*cameras, "proprio") if uses_proprio else cameras)
    frames = {camera: torch.from_numpy(episode[camera]) for camera in cameras}
    proprio = torch.from_numpy(episode["proprio"]).float() if uses_proprio else None
    if symmetry is not None:
        behind = backgrounds or {}
        frames = {camera: symmetry.map_frames(seen, behind.get(camera)).contiguous() for camera, seen in frames.items()}
        proprio = None if proprio is None else symmetry.map_proprio(proprio)
    frames = frames if strip is None else strip.before(frames)
    rows = len(frames[cameras[0]])
    latents = np.empty((rows, *model.spec.latent_shape), np.float32)
    for start in range(0, rows, batch_size):
        part = slice(start, start + batch_size)
        seen = {camera: whole[None, part] for camera, whole in frames.items()}
        latents[part] = model.encode(seen, None if proprio is None else proprio[None, part])[0].cpu()
    return latents


def one_step_changes(latents: NDArray[np.float32], offsets: NDArray[np.int64], stride: int) -> NDArray[np.float32]:
    """Changes (M, L) of latents over `stride` rows of an episode.

    Args:
        latents: rows of a data set, of shape (rows, L).
        offsets: first row of each episode.
    """
    starts = np.append(offsets, len(latents))
    changes = [
        latents[a + stride : b] - latents[a : b - stride]
        for a, b in zip(starts[:-1], starts[1:], strict=True)
        if b - a > stride  # a shorter episode has no change
    ]
    return np.concatenate(changes)


def one_step_whitening(
    latents: NDArray[np.float32], offsets: NDArray[np.int64], stride: int, ridge: float = 1e-3
) -> Tensor:
    """W (L, L) for which the changes of latents over one model step have unit covariance: W C W^T = I.

    ||W (z - g)|| then counts steps: a direction that changes quickly weighs little, one that changes slowly a lot.

    Args:
        latents: rows of a data set, of shape (rows, L).
        offsets: first row of each episode.
        stride: robot steps in a model step.
        ridge: share of the mean variance that is added to every direction, so that dead ones do not blow up.

    Raises:
        UserError: where no latent changes.
    """
    change = torch.from_numpy(one_step_changes(latents, offsets, stride)).double()
    covariance = change.T @ change / len(change)
    size = covariance.shape[0]
    if not covariance.diagonal().mean() > 0:
        raise UserError(
            "the latents of the data do not change from one model step to the next: the encoder has collapsed; train "
            "it anew in another out=DIR with more weight on loss.variance and loss.sigreg, or with another encoder"
        )
    covariance += ridge * covariance.diagonal().mean() * torch.eye(size, dtype=torch.double)
    return torch.linalg.inv(torch.linalg.cholesky(covariance)).float()


def latent_whitening(model: JEPA, latents: NDArray[np.float32], offsets: NDArray[np.int64], stride: int) -> Tensor:
    """W (L, L) that whitens the visual latent and the robot state each by itself.

    The two tell the same of the robot, up to the encoder's noise: whitened together, that noise would be the quantity
    that changes least and so counts most.
    """
    visual = model.visual_dim
    parts = [latents[:, :visual]] + ([latents[:, visual:]] if model.spec.proprio_dim else [])
    return torch.block_diag(*(one_step_whitening(part, offsets, stride) for part in parts))


def noisy_context(
    model: JEPA, context: Tensor, generator: torch.Generator, noise: float, share: Share = WHOLE
) -> Tensor:
    """Latents (N, T, L) with Gaussian noise of a standard deviation in whitened units."""
    if not noise:
        return context
    drawn = noise * share.randn(context.shape, generator).to(context.device)
    return context + torch.linalg.solve_triangular(model.whitening, drawn.mT, upper=False).mT


def dynamics_loss(
    model: JEPA,
    batch: Batch,
    generator: torch.Generator,
    noise: float = 0.0,
    bfloat16: bool = False,
    share: Share = WHOLE,
    state_weight: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Open-loop prediction error of `latent` (N, T, L) under `action` (N, T - 1, A), in whitened units.

    Whitened, a wrong block angle costs as much as a wrong pusher position, however little latent it moves; smooth L1,
    since contacts make rare large errors that would rule a squared loss.

    Args:
        noise: standard deviation of what is added to the context, in whitened units (as in Sanchez-Gonzalez et al.
            2020, Learning to Simulate): without it a predictor knows a training window by the encoder's noise.
        bfloat16: multiply in bfloat16.
        share: of the batch that this is.
        state_weight: see state_loss().
    """
    latents, actions = batch["latent"], batch["action"]
    short = torch.rand((), generator=generator) < 0.2
    context = 1 if short else model.spec.history
    seen = torch.cat([noisy_context(model, latents[:, :context], generator, noise, share), latents[:, context:]], dim=1)
    with bfloat16_products(bfloat16, latents.device):
        predicted = model.predict_windows(seen, actions, context)
    off = predicted - latents[:, context:]
    error = off @ model.whitening.T
    loss = F.smooth_l1_loss(error, torch.zeros_like(error)) + state_loss(model, off, state_weight)
    return share.weight * loss, {"squared": share.weight * error.square().mean().item()}


def state_loss(model: JEPA, off: Tensor, weight: float) -> Tensor:
    """Mean absolute error of the robot's state, in its standard deviations, times `weight`.

    A robot that has to stop within millimetres asks for these few of a latent's numbers more than for all others.

    Args:
        off: predicted less true latents, (..., L); the state is their last numbers.
    """
    if not weight:
        return off.new_zeros(())
    return weight * off[..., -model.spec.proprio_dim :].abs().mean()


def critic_loss(
    model: JEPA,
    batch: Batch,
    generator: torch.Generator,
    expectile: float,
    imagined: float = 0.5,
    share: Share = WHOLE,
) -> tuple[Tensor, dict[str, float]]:
    """Expectile regression of the steps from a latent to a goal of its trajectory, and a floor between trajectories.

    Below one half the expectile leans to the shorter of the ways seen between similar pairs. Pairs of different
    episodes get no number, only at least FAR (hinge). A planner asks of latents that the model imagines, which lie
    beside those that the encoder gives: a share of the pairs begins at the predictor's latents under the recorded
    actions, so that its usual errors cost no steps.

    Args:
        batch: `latent` (N, T, L) and `action` (N, T - 1, A), windows with the predictor's context at their beginning,
            with `goal` (N, L) and `steps` (N,), the model steps from the newest context frame to it. Of a share of a
            batch, `goal` is of the whole batch: those of others are compared with as well.
        generator: draws the pairs.
        expectile: in (0, 1).
        imagined: share of the pairs whose first latent is predicted, in [0, 1].
        share: of the batch that this is.
    """
    assert model.critic is not None
    latents, all_goals = batch["latent"], batch["goal"]
    goals, device, whole = share.own(all_goals), latents.device, len(all_goals)
    count, time = latents.shape[:2]
    newest = model.spec.history - 1
    most = batch["steps"].floor().clamp(max=time - 1 - newest)  # (N,), so that the goal does not lie behind
    drawn = share.own(torch.rand(whole, generator=generator)).to(device)
    ahead = ((most + 1) * drawn).long().clamp(max=time - 1 - newest)
    starts = latents[torch.arange(count, device=device), newest + ahead].clone()  # (N, L)
    chosen = share.own(torch.rand(whole, generator=generator)).to(device) < imagined
    made = ((ahead > 0) & chosen).nonzero().squeeze(1)
    if len(made):
        with torch.no_grad():
            predicted = model.predict_windows(latents[made], batch["action"][made])  # (n, T - history, L)
        starts[made] = predicted[torch.arange(len(made), device=device), ahead[made] - 1]
    steps = batch["steps"] - ahead
    difference = steps - model.critic(starts, goals)
    weight = torch.where(difference < 0, 1.0 - expectile, expectile)
    regression = share.weight * (weight * difference.square()).mean()
    others = torch.randperm(whole, generator=generator)
    is_other = others != torch.arange(whole)  # in a small batch maybe none
    pairs = max(int(is_other.sum()), 1)
    short = (FAR - model.critic(starts, all_goals[share.own(others).to(device)])).clamp(min=0)
    floor = share.ranks.world * short[share.own(is_other).to(device)].square().sum() / pairs
    return regression + 0.1 * floor, {"regression": regression.item(), "floor": floor.item()}


def decoder_loss(
    model: JEPA, batch: Batch, generator: torch.Generator, share: Share = WHOLE
) -> tuple[Tensor, dict[str, float]]:
    """Squared error of the pictures decoded from `latent` (N, 1, L), against the first camera's, uint8 (N, 1, H, W, 3).

    Pixels that stand out from the batch's mean picture count more: the things in a scene are a small part of it.
    """
    assert model.decoder is not None
    frames = batch[model.spec.cameras[0]][:, 0].float() / 255  # (N, H, W, 3)
    weight = 1.0 + 20.0 * (frames - share.mean(frames)).square().sum(-1, keepdim=True).clamp(max=0.5)
    error = (model.decoder(batch["latent"][:, 0]) - frames).square()
    return share.weight * (weight * error).mean(), {"pixels": share.weight * error.mean().item()}
