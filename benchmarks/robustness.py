"""Success of a planner when the world looks or behaves otherwise than in training, factor by factor.

    python benchmarks/robustness.py --model pusht --task pusht --episodes 100 --strengths 0.25 0.5 1.0 --out DIR

Every cell is a factor of variation alone, or all together, at a strength: the share of its range that each episode's
value is drawn from. All cells play the nominal cell's instances (the same starts, goals and planner seeds), each in a
world of its own, whose values at half the strength are half as far from nominal. A cell is a folder of `wmplan eval`
in DIR: what was interrupted goes on, and more episodes, factors or strengths add to what is there.

Writes robustness.json, robustness.md and robustness.png into DIR; --draw makes the last two from the first again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmplan.atomic_io import write_durably, write_json
from wmplan.data.registered import make_environment
from wmplan.environment import require
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, mcnemar
from wmplan.settings.compose import compose

Json = dict[str, Any]
ALL, NOMINAL = "all", "nominal"


def measure(
    model: str,
    task: str,
    out: Path,
    episodes: int,
    strengths: Sequence[float],
    factors: Sequence[str] | None = None,
    seed: int = 0,
    planner_seeds: int = 1,
    workers: int | None = None,
    protocol: Json | None = None,
) -> Json:
    """Play all cells; gives what robustness.json holds.

    Args:
        task: its name or Gymnasium id.
        factors: those to measure, "all" among them; None for each alone and all together.
        protocol: other settings of the protocol than the defaults.

    Raises:
        UserError: if the environment cannot be varied so, or has no factor of a name.
    """
    task = compose("eval", [f"task={task}"])["task"]["id"]
    env = make_environment(task, {})
    require(env, "a measurement of robustness", "variation", "factor_choice")
    there: tuple[str, ...] = (*env.variation.names, ALL)  # type: ignore[attr-defined]  # asked for
    env.close()
    chosen = list(there if factors is None else dict.fromkeys(factors))
    for name in chosen:
        if name not in there:
            raise UserError(f"there is no factor of variation {name!r}; there are {', '.join(there)}")

    def play(name: str, varied: Protocol, **options: Any) -> Json:
        print(name, flush=True)
        return evaluate(
            model, task, out / name, protocol=varied, episodes=episodes, seed=seed, planner_seeds=planner_seeds,
            rows=["planner"], workers=workers, **options,
        )  # fmt: skip

    nominal = play(NOMINAL, Protocol(**protocol or {}))
    cells = []
    for strength in sorted(set(strengths)):
        for name in chosen:
            varied = Protocol(**protocol or {}, variation=True if name == ALL else name, strength=strength)
            result = play(f"{name}-{strength:g}", varied, instances=str(out / NOMINAL / "instances.json"))
            cells.append({"factor": name, "strength": strength, **figures(result, nominal)})
    kept = ("model", "planner", "protocol", "episodes", "seed", "instances_sha256", "machine", "versions")
    return {
        "schema": 1,
        "task": task,
        **{name: nominal[name] for name in kept},
        "strengths": sorted(set(strengths)),
        "nominal": figures(nominal, nominal),
        "cells": cells,
        "mean_over_factors": mean_over_factors(cells, sorted(set(strengths)), nominal["rows"]["planner"]["success"]),
    }


def figures(result: Json, nominal: Json) -> Json:
    """Success, with its interval, as a share of the nominal world's, and the paired test against that."""
    row = result["rows"]["planner"]
    test = mcnemar(*([one["success"] for one in run["per_episode"]] for run in (nominal, result)))
    before = nominal["rows"]["planner"]["success"]
    return {
        "success": row["success"],
        "success_ci95": row["success_ci95"],
        "kept": row["success"] / before if before else None,
        "lost": test.only_first,
        "won": test.only_second,
        "p_value": test.p_value,
    }


def mean_over_factors(cells: Sequence[Json], strengths: Sequence[float], nominal: float) -> Json | None:
    """Mean success over the single factors at the middle strength; None where only all together were measured."""
    middle = strengths[len(strengths) // 2]
    found = [one["success"] for one in cells if one["strength"] == middle and one["factor"] != ALL]
    if not found:
        return None
    success = sum(found) / len(found)
    kept = success / nominal if nominal else None
    return {"strength": middle, "factors": len(found), "success": success, "kept": kept}


def text(results: Json) -> str:
    """The results as a page of Markdown."""
    protocol, nominal, mean = results["protocol"], results["nominal"], results["mean_over_factors"]
    low, high = nominal["success_ci95"]
    lines = [
        "# Robustness to how the world looks and behaves",
        "",
        f"{results['model']['name']} on {results['task']}, planner {results['planner']['name']}, {results['episodes']} "
        f"held-out instances (seed {results['seed']}), goal after {protocol['offset']} robot steps, budget "
        f"{protocol['budget']}, rule {protocol['rule']}. Intervals are Wilson's at 95 %; kept is the share of the "
        "nominal world's success; lost and won are episodes that succeed there and not here, and the other way round; "
        "p is McNemar's.",
        "",
        f"Nominal: {100 * nominal['success']:.1f} % ({100 * low:.1f} to {100 * high:.1f}).",
    ]
    if mean is not None:
        lines += [
            "",
            f"Mean over {mean['factors']} single factors at strength {mean['strength']:g}: "
            f"{100 * mean['success']:.1f} %, kept {share(mean['kept'])}.",
        ]
    head = "| varied | strength | success | 95 % | kept | lost | won | p |"
    lines += ["", head, "|---|---|---|---|---|---|---|---|"]
    order = list(dict.fromkeys(one["factor"] for one in results["cells"]))
    for one in sorted(results["cells"], key=lambda one: (order.index(one["factor"]), one["strength"])):
        low, high = one["success_ci95"]
        lines.append(
            f"| {one['factor']} | {one['strength']:g} | {100 * one['success']:.1f} % | {100 * low:.1f} to "
            f"{100 * high:.1f} | {share(one['kept'])} | {one['lost']} | {one['won']} | {one['p_value']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def share(value: float | None) -> str:
    """A share in percent; a dash for a share of nothing."""
    return "-" if value is None else f"{100 * value:.0f} %"


def draw(results: Json, path: Path) -> None:
    """Success by strength: a panel for each factor with its intervals, the nominal success and all together in grey."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    cells = results["cells"]
    names = list(dict.fromkeys(one["factor"] for one in cells))
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(2.5 * columns, 0.7 + 2.0 * rows), sharex=True, sharey=True, squeeze=False
    )
    nominal = results["nominal"]

    def line(name: str) -> tuple[list[float], list[float], list[list[float]]]:
        own = sorted((one for one in cells if one["factor"] == name), key=lambda one: one["strength"])
        points = [(0.0, nominal), *((one["strength"], one) for one in own)]
        success = [100 * one["success"] for _, one in points]
        low, high = ([100 * one["success_ci95"][side] for _, one in points] for side in (0, 1))
        below = [max(0.0, value - bound) for value, bound in zip(success, low, strict=True)]
        above = [max(0.0, bound - value) for value, bound in zip(success, high, strict=True)]
        return [strength for strength, _ in points], success, [below, above]

    for axis, name in zip(axes.flat, names, strict=False):
        if ALL in names and name != ALL:
            axis.plot(*line(ALL)[:2], color="#b9bfc6", linewidth=1)
        x, y, errors = line(name)
        axis.axhline(100 * nominal["success"], color="#777777", linewidth=0.8, linestyle=":")
        axis.errorbar(x, y, errors, color="#3b6ea5", marker="o", markersize=3.5, capsize=2, linewidth=1.5)
        axis.set_title("all together" if name == ALL else name, fontsize=9)
        axis.set_ylim(0, 104)
        axis.set_xlim(-0.05, 1.05 * max(results["strengths"]))
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e3e5e8", linewidth=0.8)
        axis.set_axisbelow(True)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for index, axis in enumerate(axes.flat[: len(names)]):
        axis.tick_params(labelsize=8)
        if index + columns >= len(names):
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("strength", fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("success, %", fontsize=8)
    figure.suptitle(f"{results['model']['name']}: dotted, nominal; grey, all factors together", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def write(results: Json, out: Path) -> None:
    """Write the page and the picture."""
    page = text(results)
    write_durably(out / "robustness.md", lambda file: file.write(page.encode()))
    draw(results, out / "robustness.png")
    print(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--task", default="pusht")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--factors", nargs="+", help="those to measure, 'all' among them; by default each and all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--planner-seeds", type=int, default=1)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draw", action="store_true", help="make page and picture from DIR/robustness.json")
    options = vars(parser.parse_args())
    out, path = options["out"], options["out"] / "robustness.json"
    if options.pop("draw"):
        write(json.loads(path.read_text(encoding="utf-8")), out)
        return
    results = measure(**options)
    write_json(path, results, indent=1)
    write(results, out)


if __name__ == "__main__":
    main()
