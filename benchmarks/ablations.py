"""What the planner's details are worth: success on Push-T with each of them switched off, one at a time.

    python benchmarks/ablations.py [--episodes 200] [--out benchmarks/results] [--runs runs/ablations]

The reference is the planner that the model's card recommends, iCEM 300 x 6, with all of them on. Every variant plays
the same held-out instances with the same random streams; the p-value is McNemar's for the pairs. The real-time preset
and the research preset of the field, CEM 300 x 30 x 30, are compared with it in the same way. An interrupted run goes
on where it stopped.

Writes ablations.json and ablations.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import wmplan
from wmplan.atomic_io import write_durably, write_json
from wmplan.evaluation import compare
from wmplan.models import WorldModel, save
from wmplan.settings.compose import compose

WIDER = 3.0
CARD: dict[str, Any] = {
    "name": "icem", "num_samples": 300, "num_iterations": 6, "num_elites": 20, "horizon": 5,
    "init_std": 1.0, "min_std": 0.05,
}  # fmt: skip
RESEARCH, REALTIME = (compose("eval", [f"planner={name}"])["planner"] for name in ("research", "realtime"))


@dataclass(frozen=True)
class Variant:
    """One run.

    Attributes:
        what: for the table.
        planner: settings in place of the preset's.
        preset: the settings that these go over.
        wide: whether the planner searches within bounds WIDER times as wide, the environment clipping what it sends.
    """

    what: str
    planner: dict[str, Any] = field(default_factory=dict)
    preset: dict[str, Any] = field(default_factory=lambda: CARD)
    wide: bool = False


# The deviations stay what they were, being fractions of the range.
NARROWER = {name: CARD[name] / WIDER for name in ("init_std", "min_std")}
FINAL_MEAN = {"returns": "mean"}
VARIANTS = {
    "card": Variant("the card's planner, iCEM 300 x 6, all on"),
    "no_bounds": Variant(f"bounds off: searched {WIDER:.0f} times as wide, clipped when sent", NARROWER, wide=True),
    "no_floor": Variant("floor under the deviation off", {"min_std": 0.0}),
    "no_best": Variant("best-so-far off: the final mean is returned", FINAL_MEAN),
    "none": Variant("all three off", {**NARROWER, "min_std": 0.0, **FINAL_MEAN}, wide=True),
    "realtime": Variant("real-time preset, iCEM 100 x 3", preset=REALTIME),
    "research": Variant("research preset, CEM 300 x 30", preset=RESEARCH),
}


def widened(model: WorldModel, folder: Path) -> Path:
    """The model with wider action bounds, saved."""
    spec = model.spec
    middle = [(low + high) / 2 for low, high in zip(spec.action_low, spec.action_high, strict=True)]
    half = [WIDER * (high - low) / 2 for low, high in zip(spec.action_low, spec.action_high, strict=True)]
    low = tuple(one - by for one, by in zip(middle, half, strict=True))
    high = tuple(one + by for one, by in zip(middle, half, strict=True))
    model.spec = replace(spec, action_low=low, action_high=high)
    try:
        save(model, folder, model.card)
    finally:
        model.spec = spec
    return folder


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All variants, as what ablations.json holds."""
    wide = widened(wmplan.load(options.model, device="cpu"), options.runs / "wide_model")
    results = {}
    for name in options.variants:
        variant = VARIANTS[name]
        print(f"{name}: {variant.what}", flush=True)
        results[name] = wmplan.evaluate(
            wide if variant.wide else options.model,
            options.task,
            options.runs / name,
            planner={**variant.preset, **variant.planner},
            episodes=options.episodes,
            seed=options.seed,
            planner_seeds=options.planner_seeds,
            rows=["planner"],
        )
    reference = results["card"]
    rows = []
    for name, result in results.items():
        row = result["rows"]["planner"]
        test = None if name == "card" else compare(reference, result)
        rows.append(
            {
                "name": name,
                "what": VARIANTS[name].what,
                "planner": result["planner"],
                "success": row["success"],
                "success_ci95": row["success_ci95"],
                "success_at_end": row["success_at_end"],
                "plan_ms": row["plan_ms"],
                "difference": row["success"] - reference["rows"]["planner"]["success"],
                "p_value": None if test is None else test.p_value,
            }
        )
    same = ("instances_sha256", "episodes", "seed", "protocol", "machine", "versions")
    return {"schema": 1, "model": reference["model"], **{name: reference[name] for name in same}, "rows": rows}


def text(results: dict[str, Any]) -> str:
    """The results as a page of Markdown."""
    protocol, machine = results["protocol"], results["machine"]
    lines = [
        "# Planner details switched off, one at a time",
        "",
        f"{results['model']['name']}, {results['episodes']} held-out instances (seed {results['seed']}), goal after "
        f"{protocol['offset']} robot steps, budget {protocol['budget']}, rule {protocol['rule']}; "
        f"{machine['processor']}, {machine['cores']} cores. Intervals are Wilson's at 95 %, p-values McNemar's.",
        "",
        "| variant | success | 95 % | at the end | against the card's | p | plan p50, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        low, high = row["success_ci95"]
        p = "" if row["p_value"] is None else f"{row['p_value']:.3f}"
        change = "" if row["p_value"] is None else f"{100 * row['difference']:+.1f}"
        lines.append(
            f"| {row['what']} | {100 * row['success']:.1f} % | {100 * low:.1f} to {100 * high:.1f} | "
            f"{100 * row['success_at_end']:.1f} % | {change} | {p} | {row['plan_ms']['p50']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--task", default="wmplan.envs:wmplan/PushT-v0")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--planner-seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"), help="result folders of the variants")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    options.variants = ["card", *(name for name in options.variants if name != "card")]
    results = run(options)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "ablations.json", results, indent=1)
    page = text(results)
    write_durably(options.out / "ablations.md", lambda file: file.write(page.encode()))
    print(page)


if __name__ == "__main__":
    main()
