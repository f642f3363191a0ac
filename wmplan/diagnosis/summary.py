"""From examined replans and episodes to the figures of a diagnosis, and its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from wmplan import text_table
from wmplan.diagnosis.attribution import PARTS, regret_by_part
from wmplan.diagnosis.replan_analysis import Replan

KINDS = ("failed", "succeeded")


def summarise(
    episodes: Sequence[Mapping[str, Any]], replans: Sequence[Sequence[Replan]], names: Sequence[str]
) -> dict[str, Any]:
    """The figures over all episodes, and apart for those that failed and succeeded."""
    groups = {
        kind: [own for one, own in zip(episodes, replans, strict=True) if one["success"] == (kind == "succeeded")]
        for kind in KINDS
    }
    failures = [one for one in episodes if not one["success"]]
    pairs = [replan.pair for own in groups["failed"] for replan in own]
    return {
        "failures": len(failures),
        "successes": len(episodes) - len(failures),
        "verdicts": {part: sum(one["verdict"] == part for one in failures) for part in PARTS},
        "regret_by_part": regret_by_part(pairs),
        "swaps": {kind: swaps([one for one in episodes if one["success"] == (kind == "succeeded")]) for kind in KINDS},
        "rank_correlation": {kind: correlations([one for own in groups[kind] for one in own]) for kind in KINDS},
        "error_by_step": {kind: errors([one for own in groups[kind] for one in own]) for kind in KINDS},
        "by_state": {
            kind: by_state(
                [one for one in episodes if one["success"] == (kind == "succeeded")],
                [one for own in groups[kind] for one in own],
                names,
            )
            for kind in KINDS
        },
        "scatter": scatter(episodes, replans),
    }


def swaps(episodes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many episodes were played with a part replaced, and how many of these succeeded."""
    played = {name: [one[name] for one in episodes if one[name] is not None] for name in ("with_probe", "with_oracle")}
    return {
        name: {"played": len(them), "success": sum(one["success"] for one in them)} for name, them in played.items()
    }


def correlations(replans: Sequence[Replan]) -> dict[str, Any] | None:
    """Mean and quartiles over replans of the rank correlations, by iteration; None without replans."""
    if not replans:
        return None
    found = [one.correlations() for one in replans]
    columns = range(min(len(one.iterations) for one in replans))
    result: dict[str, Any] = {"iterations": [int(i) for i in replans[0].iterations[: len(columns)]]}
    for name in ("cost", "probe"):
        result[name] = [spread([one[name][i] for one in found]) for i in columns]
    for name in ("cost_of_true_latents", "probe_of_true_latents"):
        result[name] = spread([one[name] for one in found])
    return result


def errors(replans: Sequence[Replan]) -> dict[str, Any] | None:
    """Median and quartiles over replans of the errors of the states read off latents, by model step of the plan."""
    if not replans:
        return None
    result = {}
    for name in ("encoder_error", "predictor_error"):
        longest = max(len(getattr(one, name)) for one in replans)
        by_step = [[getattr(one, name)[h] for one in replans if len(getattr(one, name)) > h] for h in range(longest)]
        result[name] = [spread(values, np.median) for values in by_step]
    return result


def by_state(
    episodes: Sequence[Mapping[str, Any]], replans: Sequence[Replan], names: Sequence[str]
) -> dict[str, dict[str, float]] | None:
    """Medians for each entry of the state, in its unit; None without episodes.

    `closest`: from the goal where the episode came closest; `goal`: error of the goal read off its latent; `seen` and
    `predicted`: error at the end of the chosen plans, read off the true latent and off the predicted one.
    """
    if not episodes or not replans:
        return None
    found = {key: [list(one[f"{key}_parts"].values()) for one in episodes] for key in ("closest", "goal")}
    found["seen"] = [one.encoder_parts[-1].tolist() for one in replans]
    found["predicted"] = [one.predictor_parts[-1].tolist() for one in replans]
    return {
        key: dict(zip(names, np.median(np.array(rows), axis=0).tolist(), strict=True)) for key, rows in found.items()
    }


STATES = {
    "closest": "from the goal when closest",
    "goal": "goal read off its image",
    "seen": "plan's end read off its image",
    "predicted": "plan's end read off the prediction",
}
"""What the rows of `by_state` are."""


def spread(values: Sequence[float], middle: Callable[..., Any] = np.mean) -> dict[str, float | None]:
    """Middle and quartiles of the numbers that are not NaN, None where there is none."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return {"middle": None, "low": None, "high": None}
    low, high = np.quantile(kept, [0.25, 0.75])
    return {"middle": float(middle(kept)), "low": float(low), "high": float(high)}


def scatter(episodes: Sequence[Mapping[str, Any]], replans: Sequence[Sequence[Replan]]) -> dict[str, Any] | None:
    """Costs and true distances of the candidates of the replan with the most regret, of a failure if there is one."""
    failed = any(not one["success"] for one in episodes)
    looked = [(one, r) for one, own in zip(episodes, replans, strict=True) if one["success"] != failed for r in own]
    if not looked:
        return None
    episode, worst = max(looked, key=lambda pair: pair[1].pair.regret)
    return {
        "instance": episode["instance"],
        "step": worst.step,
        "iterations": [int(i) for i in worst.iterations],
        "cost": [[finite(v) for v in row] for row in worst.cost],
        "true": worst.true.tolist(),
        "probe": worst.predicted.tolist(),
        "chosen": {"cost": finite(worst.pair.cost[0]), "true": worst.pair.true[0]},
        "better": {"cost": finite(worst.pair.cost[1]), "true": worst.pair.true[1]},
    }


def finite(value: float) -> float | None:
    """The number, None where JSON has none for it."""
    return float(value) if math.isfinite(value) else None


# ------------------------------------------------------------------ the table


def table(diagnosis: Mapping[str, Any]) -> str:
    """The episodes, one a line, and the figures over all of them."""
    names = ("instance", "start", "closest", "encoder", "predictor", "rank first", "last", "regret", "probe", "oracle")
    rows = [(*figures(one), one["verdict"] or "(succeeded)") for one in diagnosis["episodes"]]
    return "\n".join([text_table.table((*names, ""), rows, left=0), "", *summary(diagnosis)])


def figures(episode: Mapping[str, Any]) -> list[str]:
    """Instance, distances, errors, rank correlations, regret and outcomes of an episode, as they are shown."""
    stream = f".{episode['planner_seed']}" if episode["planner_seed"] else ""
    names = ("start_distance", "min_distance", "encoder_error", "predictor_error", "rank_first", "rank_last", "regret")
    outcomes = (outcome(episode[name]) for name in ("with_probe", "with_oracle"))
    return [f"{episode['instance']}{stream}", *(number(episode[name]) for name in names), *outcomes]


def summary(diagnosis: Mapping[str, Any]) -> list[str]:
    """The figures over all episodes, a line each."""
    lines = [
        "Distances and errors are the task's (about 1 where its first rule begins to hold). encoder: states read off",
        "the frames' latents; predictor: off the latents predicted for the plan's end; rank: correlation of cost and",
        "true distance over the candidates, first and last iteration; regret: how much closer a better plan came;",
        "probe: outcome with the probe's distance as cost; oracle: with the true simulator and distance.",
        "",
        f"Failures ({diagnosis['failures']}, rule {diagnosis['rule']}) put down to: "
        + ", ".join(f"{part} {count}" for part, count in diagnosis["verdicts"].items()),
    ]
    total = sum(diagnosis["regret_by_part"].values())
    if total:
        shares = ", ".join(f"{part} {share / total:.0%}" for part, share in diagnosis["regret_by_part"].items())
        lines.append(f"Regret of their replans lost by: {shares}")
    for kind in KINDS:
        swapped, rank, error = (diagnosis[name][kind] for name in ("swaps", "rank_correlation", "error_by_step"))
        if rank is None:
            continue
        lines.append(f"{kind.capitalize()}:")
        if swapped["with_probe"]["played"]:
            lines.append(
                "  success with the probe's distance: {success} of {played}".format(**swapped["with_probe"])
                + "; with simulator and true distance: {success} of {played}".format(**swapped["with_oracle"])
            )
        for name, label in (("cost", "cost"), ("probe", "probe's distance")):
            by_iteration = " ".join(number(one["middle"]) for one in rank[name])
            lines.append(
                f"  rank correlation with true distance, {label} of predicted latents, by iteration: {by_iteration}"
            )
        lines.append(
            f"  the same of the true outcomes' latents: cost {number(rank['cost_of_true_latents']['middle'])}, "
            f"probe's distance {number(rank['probe_of_true_latents']['middle'])}"
        )
        for name, label in (("encoder_error", "true"), ("predictor_error", "predicted")):
            by_step = " ".join(number(one["middle"]) for one in error[name])
            lines.append(f"  error of states read off the {label} latents, by step of the plan: {by_step}")
        for key, label in STATES.items():
            parts = ", ".join(readable(name, value) for name, value in diagnosis["by_state"][kind][key].items())
            lines.append(f"  {label}, median: {parts}")
    for kind, found in diagnosis["probe"].items():
        parts = ", ".join(readable(name, one["median"]) for name, one in found.items())
        lines.append(f"Probe ({kind}) on fresh episodes, median error: {parts}")
    return lines


def readable(name: str, value: float) -> str:
    """A state's error with its name, in millimetres or degrees."""
    if name.endswith("_m"):
        return f"{name.removesuffix('_m')} {1000 * value:.1f} mm"
    if name.endswith("_rad"):
        return f"{name.removesuffix('_rad')} {math.degrees(value):.1f} deg"
    return f"{name} {value:.2f}"


def number(value: float | None) -> str:
    """A number for the table."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.2f}"


def outcome(swap: Mapping[str, Any] | None) -> str:
    """Whether an episode with a part replaced succeeded, for the table."""
    return "-" if swap is None else "reached" if swap["success"] else "failed"
