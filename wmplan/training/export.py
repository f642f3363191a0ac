"""The result of a training run: the model with its card, and the curves."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wmplan.data.joined import Joined
from wmplan.data.reader import Reader
from wmplan.data.resampled import Resampled
from wmplan.models import JEPA, CheckpointError, save
from wmplan.training.config import TrainConfig
from wmplan.training.curves import draw_curves, read_log

ORIGIN = ("task", "seed", "episodes", "steps", "policy", "policy_options")
"""What the card says of each data set that was joined to others."""
STAGES = ("joint", "appearance", "dynamics", "critic", "decoder", "reader", "placement", "memory")


def export(config: TrainConfig, store: Reader, model: JEPA, figures: Callable[[], dict[str, Any]]) -> None:
    """Write the model into `out`/model; then once more with what it is measured to do, and the curves.

    Args:
        store: the data.
        figures: measures them; a fault in it costs no training.

    Raises:
        CheckpointError: where half precision cannot hold a weight.
    """
    run = Path(config.out)
    folder = run / "model"
    written = card(config, store, model, run)
    model.requires_grad_(True).eval()
    try:
        save(model, folder, written, half=config.half)
        save(model, folder, {**written, "figures": figures()}, half=config.half)
    except CheckpointError as error:
        hint = "; half=false may hold them" if config.half else ""
        raise CheckpointError(f"{error}{hint}") from error
    shutil.copy(draw_curves(run, STAGES), folder / "curves.png")


def card(config: TrainConfig, store: Reader, model: JEPA, run: Path) -> dict[str, Any]:
    """What people and programs should know of the model, but for its figures."""
    meta, spec = store.meta, model.spec
    unsaid = ("data", "more_data", "out", "pretrained", "planning")
    return {
        "name": config.name,
        "task": meta.task,
        **joined(store),
        "data": {
            "seed": meta.seed,
            "episodes": meta.episodes,
            "steps": meta.steps,
            "policy": meta.policy,
            **({"rows_to_one": store.stride} if isinstance(store, Resampled) else {}),
            **({"policy_options": meta.policy_options} if meta.policy_options else {}),
            **({"variation": meta.variation, "strength": meta.strength} if meta.variation else {}),
            **({"varied_frames": meta.varied_frames, "strength": meta.strength} if meta.varied_frames else {}),
        },
        **({"environment": meta.environment} if meta.environment else {}),
        "actions": {
            "kinds": list(spec.action_kinds),
            "measured": list(spec.action_measured),
            "bounds": config.bounds_source,
            "low": list(spec.action_low),
            "high": list(spec.action_high),
        },
        "seed": config.seed,
        "commit": commit(),
        "command": shlex.join(["wmplan", *sys.argv[1:]]),
        "training": {name: value for name, value in asdict(config).items() if name not in unsaid},
        "seconds": {stage: rows[-1]["seconds"] for stage in STAGES if (rows := read_log(run / f"{stage}.jsonl"))},
        "figures": {},
        "planning": config.planning,
    }


def joined(store: Reader) -> dict[str, Any]:
    """All tasks that the data is of, and what it was joined of, where it was."""
    if isinstance(store, Resampled):
        store = store.data
    if not isinstance(store, Joined):
        return {}
    parts = [one.meta for one in store.parts]
    return {
        "tasks": list(dict.fromkeys(one.task for one in parts if one.task is not None)),
        "joined": [{name: getattr(one, name) for name in ORIGIN} for one in parts],
    }


def commit() -> str | None:
    """The repository's commit this code runs from, None outside a repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()
