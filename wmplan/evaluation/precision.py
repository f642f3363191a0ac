"""What `wmplan precision` runs: whether a model plans as well in bfloat16, by plans and episodes in pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.atomic_io import write_json
from wmplan.control.make import make_controller
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation.comparison import compare
from wmplan.evaluation.evaluate import evaluate
from wmplan.evaluation.instances import load_instances
from wmplan.evaluation.machine import machine
from wmplan.evaluation.policies import PlannerRow
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.results import load_results
from wmplan.evaluation.rollout import load_episode
from wmplan.models.base import WorldModel
from wmplan.models.checkpoint import add_to_card, is_ours
from wmplan.models.linear import has_bfloat16
from wmplan.models.loading import card_of, load, resolve
from wmplan.models.precision import CARD, why_worse
from wmplan.output_folder import check_folder
from wmplan.registry import task_id

TYPES = ("float32", "bfloat16")
RESULT = "precision.json"


def measure_precision(
    model: str,
    out: str | Path,
    *,
    task: str | None = None,
    episodes: int = 200,
    seed: int = 7000,
    protocol: Protocol | None = None,
    workers: int | None = None,
    device: str | None = None,
    write_card: bool = True,
) -> dict[str, Any]:
    """Measure whether a model plans as well in bfloat16 as in float32, and write it into the model's card.

    The same held-out instances are played in both types, with the planner and the random numbers of the card's own
    planning; and the first plans for all of them, made from the same frames, are compared by the cost that float32
    gives them. A processor without bfloat16 in hardware measures it as well, only not its speed. A run that was
    stopped goes on when it is started again.

    Args:
        model: a shipped model's name, or the folder of a model, whose card is written.
        out: the folder for both evaluations and precision.json.
        task: Gymnasium id; null for the one on the model's card.
        episodes: held-out instances; below 200 a card does not count.
        seed: of the instances and the planner.
        protocol: how far the goals are, and what is shown of them.
        workers: processes that play at once; null for one a core.
        device: for the model: cpu, cuda, cuda:1, mps; auto, or null, for CUDA where there is any.
        write_card: whether the card is written; otherwise the figures are shown alone.

    Returns:
        The content of precision.json: the card's section, and `why_not`, null where bfloat16 plans as well.

    Raises:
        UserError: if the model has no card that could be written, or does not say what it is for.
    """
    path = resolve(model)
    if write_card:
        require_card(path, model)
    task = card_of(model).get("task") if task is None else task
    if not isinstance(task, str):
        raise UserError(f"the card of {model} names no task: give task=ID, a Gymnasium id")
    folder = check_folder(out, "a comparison of types", [RESULT], (RESULT,))
    results = {
        name: evaluate(
            str(model),
            task_id(task),
            folder / name,
            rows=("planner",),
            episodes=episodes,
            seed=seed,
            protocol=protocol,
            workers=workers,
            device=device,
            dtype=name,
        )
        for name in TYPES
    }
    test = compare(results["float32"], results["bfloat16"])
    exact = load(model, device)
    costs = first_costs(exact, folder)
    found: dict[str, Any] = {
        "cost_ratio": float(costs[:, 1].sum() / costs[:, 0].sum()),
        "cost_median_ratio": float(np.median(costs[:, 1] / costs[:, 0])),
        "success": {name: results[name]["rows"]["planner"]["success"] for name in TYPES},
        "difference_ci95": list(test.ci95),
        "p_value": test.p_value,
        "instances": test.instances,
        "task": task_id(task),
        "seed": seed,
        "planner": results["float32"]["planner"]["name"],
        "hardware": has_bfloat16(exact.device),
        "processor": machine(1)["processor"],
        "versions": {name: results["float32"]["versions"][name] for name in ("wmplan", "torch")},
    }
    result = {**found, "why_not": why_worse(found)}
    write_json(folder / RESULT, result, indent=1)
    if write_card:
        add_to_card(path, CARD, found)
    return result


def require_card(path: Path, model: str) -> None:
    """Raise a UserError unless the model is a folder of ours whose card can be written."""
    if not path.is_dir() or not is_ours(path):
        raise UserError(
            f"{model} has no card to write: give the folder of a model, as wmplan import FILE out=DIR makes"
        )
    if not os.access(path, os.W_OK):
        raise UserError(f"{path} cannot be written into: copy the folder, or give write_card=false")


def first_costs(model: WorldModel, folder: Path) -> NDArray[np.float64]:
    """Costs (instances, 2) of the first plans that were made in each type, by the float32 model from the same frame.

    Args:
        model: in float32.
        folder: with an evaluation in a folder for each type.
    """
    results = [load_results(folder / name) for name in TYPES]
    instances = load_instances(folder / TYPES[0] / "instances.json")[: results[0]["episodes"]]
    settings, protocol = results[0]["settings"], Protocol.of_results(results[0])
    env = make_environment(settings["task"], settings["environment"])
    quick = {"name": "predictive_sampling", "num_samples": 2, "num_iterations": 1}
    quick["horizon"] = settings["planner"]["horizon"]
    controller = make_controller(model, quick, settings["objective"], settings["schedule"])
    row, costs = PlannerRow(controller, protocol), []
    try:
        for instance, *records in zip(instances, *map(_records, results), strict=True):
            instance.start(env)
            row.begin(env, instance, 0)
            row.act()  # makes the first plan's cost
            assert controller.last_cost is not None
            plans = [_first_plan(folder / name / one["file"]) for name, one in zip(TYPES, records, strict=True)]
            costs.append([float(controller.last_cost(plan[None, None])) for plan in plans])
    finally:
        env.close()
    return np.array(costs)


def _records(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [one for one in result["per_episode"] if one["row"] == "planner"]


def _first_plan(file: Path) -> torch.Tensor:
    """(H, A)."""
    episode = load_episode(file)
    return torch.from_numpy(episode["plans"][0][: int(episode["plan_horizon"][0])])


def precision_table(result: Mapping[str, Any]) -> str:
    """The figures in two lines."""
    success, (low, high) = result["success"], result["difference_ci95"]
    first = (
        f"success {100 * success['float32']:.1f} % in float32, {100 * success['bfloat16']:.1f} in bfloat16, of "
        f"{result['instances']} instances: difference {100 * (success['bfloat16'] - success['float32']):+.1f} points "
        f"[{100 * low:+.1f}, {100 * high:+.1f}], p = {result['p_value']:.2g}; first plans cost "
        f"{100 * (result['cost_ratio'] - 1):+.2f} %"
    )
    why = result["why_not"]
    last = f"float32 stays: {why}" if why else "it plans as well: dtype=auto takes bfloat16 where it is faster"
    return f"{first}\n{last}"
