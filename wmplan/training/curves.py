"""The curves of a training run as one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wmplan.atomic_io import write_durably

PANELS = {  # what is drawn together, by the names of the figures
    "loss": ("loss",),
    "terms": (
        "prediction",
        "contrastive",
        "sigreg",
        "variance",
        "covariance",
        "inverse",
        "proprio",
        "regression",
        "floor",
        "pixels",
    ),
    "open-loop error, share of no prediction": ("open_loop",),
    "worst-read state entry, share of its spread": ("probe_by_region",),
    "effective rank": ("effective_rank",),
    "state misread by, median": ("misread_median",),
    "the same, of other looks": ("misread_varied_median",),
    "robot moved and put back: latents": ("robot_moved_median", "robot_placed_median"),
    "hidden frames: latents off, one-step changes": (
        "hidden_1_seen",
        "hidden_1_believed",
        "hidden_3_believed",
        "hidden_5_believed",
        "open_believed",
    ),
    "linear probe of the state, share of a blind one": ("probe",),
    "spread of the features": ("spread",),
    "lag of the target": ("lag",),
    "distance from the nominal latent": ("varied_look", "nominal_look"),
}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a stage's log."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def panels(row: dict[str, Any]) -> dict[str, list[str]]:
    """The panels of a stage, and what each shows, by what a line of its log holds."""
    there = {title: [name for name in names if row.get(name) not in (None, {})] for title, names in PANELS.items()}
    return {title: names for title, names in there.items() if names}


def draw_curves(folder: Path, stages: tuple[str, ...]) -> Path:
    """Draw the logs of a run's stages into curves.png in its folder."""
    from matplotlib.figure import Figure

    logs = {stage: rows for stage in stages if (rows := read_log(folder / f"{stage}.jsonl"))}
    shown = {stage: panels(rows[-1]) for stage, rows in logs.items()}
    columns = max([1, *map(len, shown.values())])
    figure = Figure(figsize=(4.0 * columns, 2.8 * max(len(logs), 1)), layout="constrained")
    grid = figure.subplots(max(len(logs), 1), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes_row, (stage, rows) in zip(grid, logs.items(), strict=False):
        for axes, (title, present) in zip(axes_row, shown[stage].items(), strict=False):
            axes.set_visible(True)
            axes.set_title(f"{stage}: {title}", fontsize=9)
            axes.set_xlabel("step", fontsize=8)
            axes.tick_params(labelsize=8)
            for name in present:
                steps = [row["step"] for row in rows if name in row]
                values = [row[name] for row in rows if name in row]
                if isinstance(values[0], dict):
                    for region in values[-1]:
                        axes.plot(steps, [value.get(region) for value in values], marker=".", label=region)
                elif isinstance(values[0], list):
                    for horizon, series in enumerate(zip(*values, strict=True), start=1):
                        axes.plot(steps, series, marker=".", label=f"{horizon} ahead")
                else:
                    axes.plot(steps, values, marker=".", label=name)
            low, high = axes.dataLim.intervaly
            if title in ("loss", "terms") and high > 10 * max(low, 1e-3):  # else no tick has a number
                axes.set_yscale("symlog", linthresh=1e-3)
            if len(present) > 1 or isinstance(rows[-1][present[0]], list | dict):
                axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
    path = folder / "curves.png"
    write_durably(path, lambda file: figure.savefig(file, dpi=110, format="png"))
    return path
