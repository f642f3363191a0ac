"""benchmarks/robustness.py: cells on the nominal cell's instances, a table, a picture, and going on."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wmplan.errors import UserError
from wmplan.evaluation import load_instances, load_results

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def robustness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("robustness", HERE.parents[1] / "benchmarks" / "robustness.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_factor_alone_and_all_together_are_played_from_the_same_starts(
    robustness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    from pixel_world import PixelWorld

    settings: dict[str, Any] = {
        "model": PixelWorld(), "task": "pusht", "out": tmp_path, "episodes": 2, "strengths": [1.0, 0.5], "workers": 1,
        "factors": ["image_noise", "all"], "protocol": {"offset": 12, "budget": 5, "episode_steps": 40},
    }  # fmt: skip
    results = robustness.measure(**settings)
    cells = {(one["factor"], one["strength"]): one for one in results["cells"]}
    assert list(cells) == [("image_noise", 0.5), ("all", 0.5), ("image_noise", 1.0), ("all", 1.0)]
    nominal = load_instances(tmp_path / "nominal" / "instances.json")
    for (factor, strength), cell in cells.items():
        folder = tmp_path / f"{factor}-{strength:g}"
        own = load_instances(folder / "instances.json")
        assert [one.state.tolist() for one in own] == [one.state.tolist() for one in nominal]
        assert (list(own[0].variation) == ["image_noise"]) == (factor == "image_noise")
        assert load_results(folder)["protocol"]["strength"] == strength
        row = load_results(folder)["rows"]["planner"]
        assert cell["success"] == row["success"] and cell["success_ci95"] == row["success_ci95"]
    half, whole = (load_instances(tmp_path / f"all-{one}" / "instances.json")[1].variation for one in ("0.5", "1"))
    assert half["image_noise"] == pytest.approx(whole["image_noise"] / 2)
    assert results["mean_over_factors"]["factors"] == 1 and results["mean_over_factors"]["strength"] == 1.0

    began = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert robustness.measure(**settings)["cells"] == results["cells"]  # nothing is played again
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == began

    (tmp_path / "robustness.json").write_text(json.dumps(results))
    monkeypatch.setattr(sys, "argv", ["robustness.py", "--draw", "--out", str(tmp_path)])
    robustness.main()
    page = (tmp_path / "robustness.md").read_text()
    assert "| image_noise | 0.5 |" in page and "| all | 1 |" in page
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="no factor of variation 'noise'; there are hue, .*, all"):
        robustness.measure(**{**settings, "factors": ["noise"]})


def test_figures_are_paired_and_shares_of_the_nominal_success(robustness: ModuleType) -> None:
    def run(*success: bool) -> dict[str, Any]:
        mean = sum(success) / len(success)
        row = {"success": mean, "success_ci95": [0.0, 1.0]}
        return {"rows": {"planner": row}, "per_episode": [{"success": one} for one in success]}

    nominal = run(True, True, True, True, False)
    found = robustness.figures(run(True, False, False, True, True), nominal)
    assert (found["lost"], found["won"]) == (2, 1) and found["kept"] == pytest.approx(0.75)
    cells = [
        {"factor": name, "strength": strength, "success": success}
        for name, strength, success in (("hue", 0.5, 0.6), ("mass", 0.5, 0.8), ("all", 0.5, 0.1), ("hue", 1.0, 0.0))
    ]
    mean = robustness.mean_over_factors(cells, [0.25, 0.5, 1.0], 0.8)
    assert mean["success"] == pytest.approx(0.7) and mean["kept"] == pytest.approx(0.875) and mean["factors"] == 2
    assert robustness.mean_over_factors(cells[2:3], [0.5], 0.8) is None
    assert robustness.figures(run(False), run(False))["kept"] is None and robustness.share(None) == "-"
