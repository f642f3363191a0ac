"""A picture of one search: what its candidates cost, where they lead, and what the model imagines of the chosen one."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.environment import PlanningEnvironment
from wmplan.models.base import WorldModel
from wmplan.planning.cost import LatentCost
from wmplan.planning.planner import Plan

Array = NDArray[np.float64]
SIZE_PX = 512
PATHS, DOTS = 24, 150
"""Candidates of an iteration whose paths, and whose costs, are drawn."""


@dataclass(frozen=True, eq=False)
class PlanView:
    """A search, made with every candidate recorded, and the full state it started from."""

    step: int
    state: Array
    cost: LatentCost
    plan: Plan


def plan_picture(env: PlanningEnvironment, model: WorldModel, view: PlanView, *, narrow: bool = False) -> bytes:
    """The picture, as PNG; `narrow` puts its parts below each other, for a telephone's screen.

    The environment is left where the search started.
    """
    import matplotlib

    from matplotlib.backends.backend_agg import FigureCanvasAgg  # isort: skip
    from matplotlib.figure import Figure

    env.set_state(view.state)
    imagined = imagined_frames(model, view)
    horizon = view.plan.actions.shape[1]
    search, futures, width = (9.0, 2.2 * horizon, 4.6) if narrow else (5.0, 3.6, 11.0)
    ratios = [search] if imagined is None else [search, futures]
    figure = Figure(figsize=(width, sum(ratios)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)
    costs, table = parts[0, 0].subplots(2, 1) if narrow else parts[0, 0].subplots(1, 2, width_ratios=[1.15, 1])
    colours = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.05, len(view.plan.diagnostics["candidates"])))
    draw_costs(costs, view, colours)
    draw_paths(table, env, model, view, colours)
    if imagined is not None:
        axes = (
            parts[1, 0].subplots(horizon, 2, squeeze=False).T
            if narrow
            else parts[1, 0].subplots(2, horizon, squeeze=False)
        )
        for step, (left, right) in enumerate(zip(imagined, real_frames(env, model, view), strict=True)):
            seconds = (step + 1) * model.spec.action_block / model.spec.control_rate
            for axis, frame, name in zip(axes[:, step], (left, right), ("imagined", "simulated"), strict=True):
                axis.imshow(frame, interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                if narrow or step == 0:
                    axis.set_ylabel(name, fontsize=9)
            axes[0, step].set_title(f"in {seconds:g} s", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_costs(axis: Any, view: PlanView, colours: Array) -> None:
    """Costs of candidates by iteration, the best of each larger, and the best so far ringed in red."""
    costs = [one[0].cpu().numpy() for one in view.plan.diagnostics["candidate_costs"]]
    rng = np.random.default_rng(0)
    for index, (own, colour) in enumerate(zip(costs, colours, strict=True)):
        # The best is always drawn, so that every point of the line below lies on a dot.
        shown = np.append(rng.permutation(own)[: DOTS - 1], np.nanmin(own))
        place = index + 1 + rng.uniform(-0.28, 0.28, len(shown))
        place[-1] = index + 1
        sizes = np.append(np.full(len(shown) - 1, 7), 22)
        axis.scatter(place, shown, s=sizes, color=colour, alpha=0.55, linewidths=0)
    best = np.minimum.accumulate([float(np.nanmin(own)) for own in costs])
    ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none"}
    axis.plot(range(1, len(costs) + 1), best, color="#c2442f", label="best so far", **ring)
    finite = np.concatenate(costs)
    finite = finite[np.isfinite(finite)]
    if len(finite) and finite.min() > 0 and finite.max() / finite.min() > 20:
        axis.set_yscale("log")
    axis.set(xlabel="iteration of the search", ylabel="cost of a candidate", xticks=range(1, len(costs) + 1))
    imagined, drawn = sum(map(len, costs)), sum(min(len(own), DOTS) for own in costs)
    which = f"\n{drawn} are drawn, with the best of each iteration" if drawn < imagined else ""
    axis.set_title(f"{imagined} imagined futures{which}", fontsize=10)
    axis.legend(frameon=False, fontsize=9, loc="upper right")
    axis.spines[["top", "right"]].set_visible(False)


def draw_paths(axis: Any, env: PlanningEnvironment, model: WorldModel, view: PlanView, colours: Array) -> None:
    """The camera picture, the goal shining through, and where the candidates would really lead the robot."""
    now = env.render((SIZE_PX, SIZE_PX))
    goal = env.goal_observation((SIZE_PX, SIZE_PX))["pixels"]
    axis.imshow((0.68 * now + 0.32 * goal).astype(np.uint8), extent=(0, SIZE_PX, SIZE_PX, 0))
    rng = np.random.default_rng(0)
    for own, colour in zip(view.plan.diagnostics["candidates"], colours, strict=True):
        picked = own[0, torch.from_numpy(rng.permutation(own.shape[1])[:PATHS])]
        for path in paths(env, model, picked):
            axis.plot(path[:, 0], path[:, 1], color=colour, linewidth=0.7, alpha=0.45)
    chosen = paths(env, model, view.plan.actions)
    block = model.spec.action_block
    for path in chosen:
        axis.plot(path[:, 0], path[:, 1], color="#c2442f", linewidth=2.6)
        axis.scatter(path[::block, 0], path[::block, 1], color="#c2442f", s=18, zorder=3)
    axis.set(xlim=(0, SIZE_PX), ylim=(SIZE_PX, 0), xticks=[], yticks=[])
    axis.set_title("where they lead; in red the chosen one", fontsize=10)


def paths(env: PlanningEnvironment, model: WorldModel, candidates: torch.Tensor) -> list[Array]:
    """Paths (T + 1, 2) in pixels of the robot's point under candidates (S, H, A), if the task has such a point."""
    where = traced(env.task.state_names)
    if where is None or not hasattr(env, "physics"):  # not one of our own simulators: no camera to project into
        return []
    actions = candidates.double().cpu().numpy().reshape(len(candidates), -1, model.spec.action_dim)
    states = env.simulate(actions)  # (S, T, D)
    states = np.concatenate([np.broadcast_to(env.task_state(), states[:, :1].shape), states], axis=1)
    return [project(env, path[:, where]) for path in states]


def traced(names: Sequence[str]) -> list[int] | None:
    """Indices of x, y (and z) of the first point that is part of a task's state, None where there is none."""
    for index, name in enumerate(names):
        if name.endswith("_x_m"):
            stem = name.removesuffix("_x_m")
            found = [names.index(f"{stem}_{axis}_m") for axis in "xyz" if f"{stem}_{axis}_m" in names]
            return found if found[0] == index and len(found) >= 2 else None
    return None


def project(env: Any, points: Array) -> Array:
    """Pixels (N, 2) of world points (N, 2 or 3) in the task's camera, for pictures of SIZE_PX a side."""
    camera = env.physics.data.camera(env.task.camera)
    fovy = np.radians(env.physics.model.camera(env.task.camera).fovy[0])
    world = np.zeros((len(points), 3))
    world[:, : points.shape[1]] = points
    seen = (world - camera.xpos) @ camera.xmat.reshape(3, 3)  # x to the right, y up, z backwards
    focal = SIZE_PX / 2 / np.tan(fovy / 2)
    depth = np.maximum(-seen[:, 2], 1e-6)
    return np.stack([SIZE_PX / 2 + focal * seen[:, 0] / depth, SIZE_PX / 2 - focal * seen[:, 1] / depth], axis=-1)


@torch.inference_mode()
def imagined_frames(model: WorldModel, view: PlanView) -> NDArray[np.uint8] | None:
    """What the model imagines after each step of the chosen plan, (H, height, width, 3); None without a decoder."""
    if model.decoder is None:
        return None
    latents = model.rollout(view.cost.context, view.plan.actions[:, None], view.cost.past_actions)[0, 0]
    return (model.decoder(latents) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def real_frames(env: PlanningEnvironment, model: WorldModel, view: PlanView) -> list[NDArray[np.uint8]]:
    """What the camera really sees after each step of the chosen plan."""
    frames = []
    for block in view.plan.actions[0].double().cpu().numpy():
        for action in block.reshape(-1, model.spec.action_dim):
            env.step_physics(action)
        frames.append(env.render(model.spec.image_size))
    env.set_state(view.state)
    return frames


def image_tag(png: bytes, narrow: bytes, title: str) -> str:
    """A picture as part of a page, another one where the screen is narrow."""
    wide, slim = (f"data:image/png;base64,{base64.b64encode(one).decode()}" for one in (png, narrow))
    return (
        f'<picture><source media="(max-width: 640px)" srcset="{slim}">'
        f'<img alt="{escape(title)}" style="width:100%;border-radius:6px" src="{wide}"></picture>'
    )
