"""The results of several evaluations, one for each combination of settings, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wmplan.checked import write_json_checked
from wmplan.evaluation.results import load_results


def write_sweep(out: Path, runs: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Write sweep.json: of every run its settings, its folder and the figures of its rows.

    Args:
        out: the folder of the sweep.
        runs: the settings that differ, by the name of each run's folder in `out`.

    Returns:
        The content: `runs`, each with `settings`, `folder` (relative to `out`), `instances_sha256` and `rows`.

    Raises:
        UserError: if a run has no results.
    """
    told = []
    for name, chosen in runs.items():
        for folder in _folders(out / name):
            result = load_results(folder)
            same = {key: result[key] for key in ("instances_sha256", "rows")}
            told.append({"settings": dict(chosen), "folder": str(folder.relative_to(out)), **same})
    content = {"schema": 1, "runs": told}
    write_json_checked(out / "sweep.json", content)
    return content


def _folders(folder: Path) -> list[Path]:
    """The result folders of a run: itself, or one for each part of a protocol that has several."""
    parts = [] if (folder / "results.json").is_file() else sorted(one.parent for one in folder.glob("*/results.json"))
    return parts or [folder]
