"""What `wmplan validate` runs: whether a model is any good, from recorded episodes, without the robot."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmplan import text_table
from wmplan.atomic_io import write_json
from wmplan.control.goal_image import read_goal_image
from wmplan.control.settings import planning_settings
from wmplan.counted import counted
from wmplan.data.meta import DataError
from wmplan.data.reader import Reader, open_data
from wmplan.data.resampled import at_rate
from wmplan.errors import UserError
from wmplan.evaluation.machine import date, machine, versions
from wmplan.models.base import WorldModel
from wmplan.models.checkpoint import finite_or_null
from wmplan.models.loading import load, sha256
from wmplan.output_folder import check_folder, make_folder
from wmplan.settings.numbers import MAX_SEED, plain, whole_number
from wmplan.validation.action_rank import action_rank
from wmplan.validation.action_use import action_use
from wmplan.validation.held_out import choose_episodes
from wmplan.validation.imagined import imagine, save
from wmplan.validation.nearest import neighbours
from wmplan.validation.open_loop import open_loop
from wmplan.validation.planned_actions import planned_actions
from wmplan.validation.planning_problem import PlanningProblem
from wmplan.validation.recordings import Recordings, record
from wmplan.validation.scale import LatentScale
from wmplan.validation.score import score_parts
from wmplan.validation.surprise_rate import surprise_rate
from wmplan.validation.verdict import trusted_steps, verdict

RESULT = "validation.json"
MOST_STEPS = 100


def validate(
    model: str | Path | WorldModel,
    data: str | Path,
    out: str | Path | None,
    *,
    episodes: int = 50,
    seed: int = 0,
    steps: int | None = None,
    windows: int = 256,
    candidates: int = 100,
    compared: int = 48,
    goals: Sequence[str] = (),
    camera: str | None = None,
    data_rate: float | None = None,
    planner: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Judge a model on recorded episodes.

    Args:
        model: a shipped name, a path or a model.
        data: recorded data of any format that has a reader: a folder or file, or FORMAT:PATH.
        out: the folder to write into; None writes nothing.
        episodes: at most, held out where the model's card says which are.
        seed: of episodes, windows, candidates and plans.
        steps: model steps to look ahead; null for twice as many as plans have.
        windows: places in the episodes that are predicted from.
        candidates: random plans, and others' recorded actions, that the recorded actions are ranked among.
        compared: windows in which they are ranked and planned.
        goals: goal images, files, whose distance from the data is measured.
        camera: of the data, of several; a model that sees several finds them by their names.
        data_rate: rows in a second, of data that does not say it and was recorded faster than the model plans.
        planner, objective: left out, what the model's card recommends.
        device: for the model; null for what the machine has.

    Returns:
        The content of validation.json, see wmplan.validation.

    Raises:
        UserError: naming what is wrong, also where data and model do not fit together.
    """
    counts = {"episodes": episodes, "windows": windows, "candidates": candidates}
    for name, value in counts.items():
        counts[name] = whole_number(value, name, 1)
    compared, seed = whole_number(compared, "compared", 2), whole_number(seed, "seed", 0, MAX_SEED - 10_000)
    steps = None if steps is None else whole_number(steps, "steps", 1, MOST_STEPS)
    folder = None if out is None else check_folder(out, "a validation", [RESULT], [RESULT, "report.html", "imagined"])
    loaded = model if isinstance(model, WorldModel) else load(model, device)
    settings = planning_settings(loaded, plain(planner), plain(objective))
    problem = PlanningProblem.of(loaded, settings)
    images = goal_latents(loaded, goals)
    ahead = min(2 * problem.horizon, MOST_STEPS) if steps is None else steps
    rows = loaded.spec.history * loaded.spec.action_block + 1
    cameras = loaded.spec.cameras if len(loaded.spec.cameras) > 1 else None
    if cameras and camera:
        raise UserError(f"camera must be left out, got {camera}: the model sees {', '.join(cameras)}")
    with contextlib.closing(open_data(data, camera=camera, cameras=cameras)) as opened:
        with contextlib.suppress(DataError):  # what does not fit is told with all else that does not
            opened = at_rate(opened, loaded.spec.control_rate, loaded.spec.action_kinds, data_rate)
        choice = choose_episodes(loaded.card, opened, counts["episodes"], seed, rows)
        recordings = record(loaded, opened, choice.episodes, ahead, seed)
        names = action_names(opened, loaded.spec.action_dim)
    found = measure(recordings, problem, names, counts["windows"], compared, counts["candidates"], images, goals, seed)
    of_file = not isinstance(model, WorldModel)
    result: dict[str, Any] = {
        "schema": 1,
        "date": date(),
        "model": {
            "name": loaded.card.get("name", str(model) if of_file else type(loaded).__name__),
            "sha256": sha256(model) if isinstance(model, str | Path) else None,
            "parameters": sum(weight.numel() for weight in loaded.parameters()),
        },
        "data": {"path": str(data), **asdict(choice)},
        "seed": seed,
        "control_rate": loaded.spec.control_rate,
        "action_block": loaded.spec.action_block,
        "planning": settings,
        "settings": {
            "model": str(model) if of_file else None,
            "data": str(data),
            **counts,
            "compared": compared,
            "steps": steps,
            "seed": seed,
            "goals": list(goals),
            "camera": camera,
            "data_rate": data_rate,
        },
        **found,
        "machine": machine(1),
        "versions": versions(),
    }
    result = finite_or_null(result)
    if folder is not None:
        make_folder(folder)
        write_json(folder / RESULT, result, indent=1)
        save(folder, imagine(recordings))
    return result


def measure(
    recordings: Recordings,
    problem: PlanningProblem,
    names: Sequence[str],
    windows: int,
    compared: int,
    candidates: int,
    images: Tensor | None,
    goals: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """All figures of a model on recordings."""
    model, chosen = recordings.model, recordings.windows(recordings.steps)
    if len(chosen) < 2:
        raise UserError(
            "the episodes hold one place to predict from, it takes at least 2: give longer or more episodes"
        )
    scale = LatentScale(recordings)
    loop = open_loop(recordings, chosen[:windows], scale)
    use = action_use(recordings, recordings.windows(1)[: 4 * windows], scale, names)
    batch = recordings.gather(chosen[:compared], recordings.steps)
    rank = action_rank(problem, batch, candidates, seed)
    planned = planned_actions(problem, batch, seed)
    seen = neighbours(recordings, scale, images, goals)
    usual = surprise_rate(recordings)
    step_s = model.spec.action_block / model.spec.control_rate
    trusted = trusted_steps(loop, rank)
    parts = score_parts(problem.horizon, loop, rank, planned, seen)
    return {
        "steps": recordings.steps,
        "seconds": [round(step_s * step, 6) for step in range(1, recordings.steps + 1)],
        "verdict": verdict(loop, rank, use, step_s, recordings.is_blind),
        "trusted_steps": trusted,
        "trusted_seconds": trusted * step_s,
        "score": parts.score,
        "score_parts": asdict(parts),
        "open_loop": {**asdict(loop), "ratio": loop.ratio},
        "action_rank": asdict(rank),
        "planned_actions": asdict(planned),
        "action_use": [{**asdict(one), "predicted": one.predicted} for one in use],
        "surprise": None if usual is None else asdict(usual),
        "neighbours": asdict(seen),
    }


def goal_latents(model: WorldModel, goals: Sequence[str]) -> Tensor | None:
    """Latents (G, *latent) of goal images; None without any."""
    if not goals:
        return None
    if len(model.spec.cameras) > 1:
        raise UserError(f"goals: the model sees {', '.join(model.spec.cameras)}, one image is no goal for it")
    if model.spec.proprio_dim and not model.reads_proprio:
        raise UserError("goals: this model reads no robot state off images, so that their distance is not known")
    try:
        frames = [read_goal_image(one, model.spec.image_size) for one in goals]
    except OSError as error:
        raise UserError(f"goals: {error.filename} cannot be read: {error.strerror}") from None
    with torch.inference_mode():
        return model.encode(torch.from_numpy(np.stack(frames))[:, None].to(model.device))[:, 0].float().cpu()


def action_names(data: Reader, count: int) -> list[str]:
    """A name for each entry of the action: those of the data, or action[0], ..."""
    given = data.meta.action_names
    return list(given) if len(given) == count else [f"action[{entry}]" for entry in range(count)]


# ------------------------------------------------------------------ the table


def table(result: Mapping[str, Any]) -> str:
    """The figures by horizon, one line each, what else was found, and the verdict."""
    loop, rank, planned = result["open_loop"], result["action_rank"], result["planned_actions"]
    scores = [*planned["action_score"], *[None] * (result["steps"] - len(planned["action_score"]))]
    errors = [*planned["action_error"], *[None] * (result["steps"] - len(planned["action_error"]))]
    columns = zip(
        range(1, result["steps"] + 1),
        *(result["seconds"], loop["error"], loop["idle"], loop["copy"], loop["ratio"]),
        *(
            rank["rank"],
            rank["beats_random"],
            rank["beats_recorded"],
            rank["beats_blended"],
            rank["spread"],
            errors,
            scores,
        ),
        strict=True,
    )
    head = ["step", "s", "error", "idle", "copy", "error/copy", "rank", "beats random", "recorded", "blended", "spread"]
    rows = [[str(step), *map(number, rest)] for step, *rest in columns]
    lines = [text_table.table([*head, "action error", "score"], rows, left=0), ""]
    uses = ", ".join(f"{one['name']} {one['in_model']:.2f} ({one['in_data']:.2f})" for one in result["action_use"])
    lines.append(f"how much of each entry of the action predicted (and recorded) changes show: {uses}")
    if (usual := result["surprise"]) is not None:
        lines.append(
            f"surprise: {usual['above_usual']:.0%} of the frames are above the model's usual error; 5 % false alarms "
            f"at {number(usual['threshold'])} a frame, {number(usual['threshold_episode'])} an episode"
        )
    near = result["neighbours"]
    lines.append(f"nearest frame of another episode: {number(near['median'])} away, 95 % within {number(near['p95'])}")
    lines += [
        f"goal {one['goal']}: {number(one['distance'])} away; {one['share']:.0%} of the frames are as far"
        for one in near["goals"]
    ]
    parts = ", ".join(f"{name} {value:.2f}" for name, value in result["score_parts"].items())
    lines += [
        f"{counted(len(result['data']['episodes']), 'episode')}: {result['data']['said']}",
        "",
        f"score {result['score']:.1f}",
    ]
    return "\n".join([*lines[:-1], f"{lines[-1]}: {parts}", result["verdict"]])


def number(value: float | None) -> str:
    """A number of the table."""
    return "-" if value is None else f"{value:.3g}"
