"""Two evaluations on the same instances, compared in pairs, by every rule, at any time and at the end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_json
from wmplan.errors import UserError
from wmplan.evaluation.instances import Instance, load_instances
from wmplan.evaluation.paired import PairedTest, mcnemar
from wmplan.evaluation.power import detectable_difference, pairs_needed, require_power
from wmplan.evaluation.results import load_results
from wmplan.output_folder import check_file
from wmplan.settings.difference import MISSING, differences

Json = Mapping[str, Any]
WHEN = {"any time": "success", "at end": "success_at_end"}
IN_COMMON = ("model", "planner", "protocol", "settings.environment")
"""Of results.json: what a reader of a comparison wants to know where it differs."""


def compare_results(
    first: str,
    second: str,
    *,
    row: str = "planner",
    difference: float | None = None,
    power: float = 0.8,
    out: str | None = None,
) -> dict[str, Any]:
    """Compare two result folders on the instances and planner seeds that both have played.

    Args:
        first: the result folder of an evaluation.
        second: that of another; differences are the second less the first.
        row: which row of both results is compared.
        difference: claimed difference of success rates, above 0 and up to 1; it is told how many instances show it.
            None for the one that was found.
        power: chance with which so many instances show it.
        out: file for the comparison as JSON; None for none.

    Returns:
        What is written to `out`: `comparisons`, one a rule and time, each a PairedTest with both rates; `power`.

    Raises:
        UserError: if a folder holds no result, or the results share no instances, seeds or rules; at a difference or a
            power that cannot be, or an `out` that cannot be written.
    """
    if difference is not None and not 0 < difference <= 1:
        raise UserError(f"difference must be above 0 and at most 1, got {difference:g}")
    require_power(power)
    if out is not None:
        check_file(out)
    folders = Path(first), Path(second)
    results = load_results(folders[0]), load_results(folders[1])
    numbers = shared_instances(folders, results)
    rules = [rule for rule in _rules(results[0], row) if rule in _rules(results[1], row)]
    if not rules:
        raise UserError(f"the two results have no rule in common in the row {row!r}: {first} and {second}")
    compared, seeds = [], _seeds(results, row)
    for rule in rules:
        for when, field in WHEN.items():
            tables = [
                _outcomes(result, row, rule, field, own, seeds)
                for result, own in zip(results, zip(*numbers, strict=True), strict=True)
            ]
            rates = {"first": float(tables[0].mean()), "second": float(tables[1].mean())}
            compared.append({"rule": rule, "when": when, **rates, **asdict(mcnemar(*tables))})
    found = {
        "schema": 1,
        "first": _told(first, results[0], row),
        "second": _told(second, results[1], row),
        "row": row,
        "task": results[0]["task"],
        "instances": len(numbers),
        "planner_seeds": seeds,
        "differs": _differs(results),
        "comparisons": compared,
        "power": _power(compared[0], len(seeds) * len(numbers), difference, power),
    }
    if out is not None:
        write_json(Path(out), found)
    return found


def compare(first: Json, second: Json, row: str = "planner", rule: str | None = None) -> PairedTest:
    """Compare a row of two results of the same instances, by a rule or by the one that decides, at any time.

    Raises:
        UserError: if the results are of other instances, or share no episodes of the row.
    """
    if first["instances_sha256"] != second["instances_sha256"]:
        raise UserError("the results are of different instances: compare runs of the same seed, episodes and protocol")
    seeds = _seeds((first, second), row)
    every = range(first["episodes"])
    return mcnemar(*(_outcomes(one, row, rule, "success", every, seeds) for one in (first, second)))


def shared_instances(folders: Sequence[Path], results: Sequence[Json]) -> list[tuple[int, int]]:
    """Numbers of the same instances in two results: those of the same start, goal and world.

    Raises:
        UserError: if there are none.
    """
    if results[0]["instances_sha256"] == results[1]["instances_sha256"]:
        return [(number, number) for number in range(results[0]["episodes"])]
    first, second = (
        {_content(one): one.instance for one in load_instances(folder / "instances.json")} for folder in folders
    )
    shared = [(number, second[content]) for content, number in first.items() if content in second]
    if not shared:
        raise UserError(
            f"{folders[0]} and {folders[1]} are of different instances: compare runs of the same task, seed, "
            "protocol.offset and instances"
        )
    return shared


def _content(instance: Instance) -> str:
    return json.dumps({**instance.as_dict(), "instance": None})


def _rules(result: Json, row: str) -> list[str]:
    if row not in result["rows"]:
        raise UserError(f"a result has no row {row!r}; it has {', '.join(result['rows'])}")
    return list(result["rows"][row]["rules"])


def _seeds(results: Sequence[Json], row: str) -> list[int]:
    """Planner seeds under which both played the row."""
    first, second = ({one["planner_seed"] for one in result["per_episode"] if one["row"] == row} for result in results)
    if not first & second:
        raise UserError(f"the two results share no episodes of the row {row!r}")
    return sorted(first & second)


def _outcomes(
    result: Json, row: str, rule: str | None, field: str, instances: Sequence[int], seeds: Sequence[int]
) -> NDArray[np.bool_]:
    """A yes-or-no field, (instances, seeds), by a rule or by the one that decides."""
    played = {
        (one["instance"], one["planner_seed"]): (one["rules"][rule] if rule else one)[field]
        for one in result["per_episode"]
        if one["row"] == row
    }
    return np.array([[played[instance, seed] for seed in seeds] for instance in instances], dtype=bool)


def _told(folder: str, result: Json, row: str) -> dict[str, Any]:
    model = result.get("model") or {}
    return {
        "folder": folder,
        "model": model.get("name"),
        "planner": (result.get("planner") or {}).get("name"),
        "instances": result["episodes"],
        "instances_sha256": result["instances_sha256"],
        "planner_seeds": len({one["planner_seed"] for one in result["per_episode"] if one["row"] == row}),
    }


def _differs(results: Sequence[Json]) -> dict[str, list[Any]]:
    """Settings in which the two are not the same, with both values."""
    found = {}
    for where in IN_COMMON:
        first, second = results
        for name in where.split("."):
            first, second = first.get(name) or {}, second.get(name) or {}
        for path, before, after in differences(first, second, where.rpartition(".")[2]):
            found[path] = [None if value is MISSING else value for value in (before, after)]
    return found


def _power(compared: Json, episodes: int, claimed: float | None, power: float) -> dict[str, Any]:
    """How many instances a difference takes, where as many pairs differ as here; None where nothing can be said."""
    share = (compared["only_first"] + compared["only_second"]) / episodes
    wanted = abs(compared["difference"] if claimed is None else claimed)
    discordant = max(share, wanted)
    worth = compared["effective_n"] / compared["instances"]  # independent pairs in an instance
    pairs = pairs_needed(wanted, discordant, power) if wanted else None
    return {
        "power": power,
        "discordant": share,
        "difference": wanted,
        "instances_needed": None if pairs is None else math.ceil(pairs / worth),
        "detectable_difference": detectable_difference(int(compared["effective_n"]), share, power),
    }
