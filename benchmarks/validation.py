"""Whether the score of `wmplan validate` ranks models as their success does: Spearman's rank correlation.

    python benchmarks/validation.py data=data/pusht out=results/validation models=[pusht,runs/short/model] \
        broken=[all:0.05,all:0.1,all:0.2,all:0.4,predictor:0.1,predictor:0.3,encoder:0.1,encoder:0.3]

Models of different quality are those given, and the first of them with noise on its weights: PART:SCALE adds noise of
SCALE standard deviations of each weight tensor of all, encoder or predictor. Each is validated on `data` and evaluated
on the task, held-out instances of the same seed for all. What is in `out` already is not measured again: evaluations
that were cut go on. results=[DIR,...] gives folders of evaluations that exist, one a model, null for none.

Prints a table and the correlation of success with the score, with each of its parts, and with the open-loop error
alone, and writes them to out/validation_against_success.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from scipy import stats

import wmplan
from wmplan.atomic_io import write_json
from wmplan.evaluation import evaluate, load_results
from wmplan.models import WorldModel, save
from wmplan.registry import TASKS
from wmplan.text_table import table
from wmplan.validation import validate

DEFAULTS: dict[str, Any] = {
    "data": "data/pusht",
    "out": "results/validation",
    "models": ["pusht"],
    "results": [],
    "broken": ["all:0.05", "all:0.1", "all:0.2", "all:0.4", "predictor:0.1", "predictor:0.3", "encoder:0.1"],
    "task": "pusht",
    "episodes": 100,
    "seed": 4000,
    "recorded": 50,
    "windows": 256,
    "workers": None,
}
PARTS = {"all": "", "encoder": "encoder.", "predictor": "predictor."}
DRAWS = 2000


def main(arguments: Sequence[str]) -> None:
    """Measure all models, print the table, and write it."""
    chosen = OmegaConf.to_container(OmegaConf.merge(DEFAULTS, OmegaConf.from_dotlist(list(arguments))))
    assert isinstance(chosen, dict)
    if unknown := chosen.keys() - DEFAULTS.keys():
        raise SystemExit(f"there is no setting {', '.join(map(str, unknown))}; there are {', '.join(DEFAULTS)}")
    out = Path(chosen["out"])
    names = {str(model): str(model) for model in chosen["models"]}
    for given in chosen["broken"]:
        part, _, scale = str(given).partition(":")
        names[f"{chosen['models'][0]} + {given}"] = str(break_model(chosen["models"][0], part, float(scale), out))
    given_results = dict(zip(names, chosen["results"], strict=False))
    measured = []
    for name, model in names.items():
        measured.append(measure(name, model, given_results.get(name), out, chosen))
        print(f"{name}: score {measured[-1]['score']:.1f}, success {measured[-1]['success']:.3f}", flush=True)
    found = {"settings": chosen, "models": measured, "spearman": correlations(measured)}
    write_json(out / "validation_against_success.json", found, indent=1)
    print(report(found))


def break_model(name: str, part: str, scale: float, out: Path) -> Path:
    """A copy of the model with noise on the weights of a part; its folder."""
    if part not in PARTS:
        raise SystemExit(f"broken must be PART:SCALE with PART one of {', '.join(PARTS)}, got {part!r}")
    folder = out / "models" / f"{Path(name).name}-{part}-{scale:g}"
    if not (folder / "config.json").exists():
        model = wmplan.load(name, device="cpu")
        add_noise(model, PARTS[part], scale)
        save(model, folder, {**model.card, "name": folder.name})
    return folder


@torch.no_grad()
def add_noise(model: WorldModel, prefix: str, scale: float) -> None:
    """Add noise to every weight whose name begins so, in standard deviations of its tensor."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if name.startswith(prefix) and not name.startswith(("decoder.", "critic.")) and weight.numel() > 1:
            weight += scale * weight.std() * torch.randn(weight.shape, generator=generator)


def measure(name: str, model: str, result: str | None, out: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Score and success of one model."""
    key = name.replace("/", "_").replace(" + ", "-").replace(":", "-")
    judged = out / "validated" / key
    if not (judged / "validation.json").exists():
        settings = {"episodes": chosen["recorded"], "windows": chosen["windows"]}
        validate(model, chosen["data"], judged, **settings)
    validation = json.loads((judged / "validation.json").read_text())
    folder = Path(result) if result else out / "evaluated" / key
    if not (folder / "results.json").exists():
        task = TASKS[chosen["task"]].id
        options = {name: chosen[name] for name in ("episodes", "seed", "workers")}
        evaluate(model, task, folder, rows=["planner"], **options)
    row = load_results(folder)["rows"]["planner"]
    horizon = len(validation["planned_actions"]["action_score"])
    ratios = [np.inf if one is None else one for one in validation["open_loop"]["ratio"][:horizon]]
    return {
        "model": name,
        "success": row["success"],
        "success_ci95": row["success_ci95"],
        "score": validation["score"],
        **validation["score_parts"],
        "open_loop": -float(min(np.mean(ratios), 1e9)),
        "trusted_seconds": validation["trusted_seconds"],
        "verdict": validation["verdict"],
    }


def correlations(measured: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Spearman's correlation with success of every figure, and its interval at 95 % over models drawn anew."""
    success = np.array([one["success"] for one in measured])
    rng, found = np.random.default_rng(0), {}
    names = ["score", "prediction", "choice", "resolution", "actions", "sight", "open_loop", "trusted_seconds"]
    for name in names:
        values = np.array([one[name] for one in measured])
        draws = []
        for _ in range(DRAWS):
            rows = rng.integers(len(values), size=len(values))
            if len(set(values[rows])) > 1 and len(set(success[rows])) > 1:
                draws.append(stats.spearmanr(values[rows], success[rows]).statistic)
        whole = stats.spearmanr(values, success).statistic if len(set(values)) > 1 and len(set(success)) > 1 else 0.0
        low, high = np.quantile(draws, [0.025, 0.975]) if draws else (0.0, 0.0)
        found[name] = {"spearman": float(whole), "low": float(low), "high": float(high)}
    return found


def report(found: Mapping[str, Any]) -> str:
    """The models, best first, and the correlations."""
    names = ["score", "prediction", "choice", "resolution", "actions", "sight"]
    ordered = sorted(found["models"], key=lambda one: -one["success"])
    rows = [
        [
            one["model"],
            f"{one['success']:.1%} [{one['success_ci95'][0]:.0%}, {one['success_ci95'][1]:.0%}]",
            *(f"{one[name]:.3g}" for name in names),
            f"{-one['open_loop']:.3g}",
        ]
        for one in ordered
    ]
    lines = [table(["model", "success", *names, "error/copy"], rows), ""]
    for name, value in found["spearman"].items():
        span = f"[{value['low']:.2f}, {value['high']:.2f}]"
        lines.append(f"Spearman of success and {name}: {value['spearman']:.2f} {span} over {len(ordered)} models")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
