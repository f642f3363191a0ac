"""Diagnoses of a toy world whose models are wrong in one known way."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from wmplan.diagnosis.diagnose import DiagnoseConfig, diagnose, evaluated_instances
from wmplan.diagnosis.replan_analysis import Effort
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, load_results
from wmplan.interruption import Interrupted
from wmplan.report.page import write_report

HERE = Path(__file__).parents[1] / "evaluation"  # where the worlds of tests are
PLANNER = {"name": "cem", "num_samples": 48, "num_iterations": 3, "num_elites": 8, "horizon": 4}
CONFIG = DiagnoseConfig(
    max_instances=2, successes=1, probe_episodes=12, effort=Effort(candidates=16, drawn=6, samples=32, iterations=3)
)


@pytest.fixture(scope="module")
def world() -> Any:
    sys.path.insert(0, str(HERE))
    import point_world

    yield point_world
    sys.path.remove(str(HERE))


def run(world: Any, folder: Path, fault: str, planner: dict[str, Any] = PLANNER, **options: Any) -> dict[str, Any]:
    model = world.PointWorld(fault)
    protocol = Protocol(offset=20, budget=options.pop("budget", 30), episode_steps=40)
    evaluate(model, world.TASK, folder, planner=planner, protocol=protocol, episodes=2, rows=["planner"], workers=1)
    return diagnose(folder, CONFIG, model=model)


@pytest.mark.parametrize(
    ("fault", "part"), [("blind", "encoder"), ("reversed", "predictor"), ("harmonics", "objective")]
)
def test_the_part_that_is_broken_is_found(world: Any, tmp_path: Path, fault: str, part: str) -> None:
    found = run(world, tmp_path, fault)
    assert found["failures"] >= 1
    assert [one["verdict"] for one in found["episodes"] if not one["success"]] == [part] * found["failures"]
    assert found["verdicts"][part] == found["failures"]


def test_a_search_that_is_too_small_is_found(world: Any, tmp_path: Path) -> None:
    planner = {"name": "cem", "num_samples": 2, "num_iterations": 1, "num_elites": 1, "horizon": 1, "init_std": 0.05}
    found = run(world, tmp_path, "", planner)
    assert found["failures"] == 2 and found["verdicts"]["search"] == 2


def test_a_faultless_model_shows_perfect_figures(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(world, tmp_path, "", budget=60)
    assert found["failures"] == 0 and found["successes"] == 1
    rank = found["rank_correlation"]["succeeded"]
    assert all(one["middle"] > 0.99 for one in [*rank["cost"], rank["cost_of_true_latents"]])
    error = found["error_by_step"]["succeeded"]
    assert max(one["middle"] for name in error for one in error[name]) < 0.05
    assert found["probe"]["ridge"]["point_x_m"]["p90"] < 1e-3
    assert found["rank_correlation"]["failed"] is None
    assert json.loads((tmp_path / "diagnosis.json").read_text()) == json.loads(json.dumps(found))
    printed = capsys.readouterr().out
    assert "(succeeded)" in printed and "rank correlation" in printed
    write_report(tmp_path)
    assert "Why it fails" in (tmp_path / "report.html").read_text()


def test_rank_correlations_are_of_the_planners_own_candidates(world: Any, tmp_path: Path) -> None:
    """The scatter holds costs and true distances; the objective can be worked out from the toy's own arithmetic."""
    found = run(world, tmp_path, "harmonics")
    shown = found["scatter"]
    flat = [
        (c, t)
        for costs, true in zip(shown["cost"], shown["true"], strict=True)
        for c, t in zip(costs, true, strict=True)
    ]
    assert len(flat) == 3 * 16 and all(cost >= 0 and true >= 0 for cost, true in flat)
    assert (
        spearmanr(*zip(*flat, strict=True)).statistic < 0.99
    )  # harmonics: the cost does not order as the distance does
    assert shown["better"]["true"] <= min(true for _, true in flat) + 1e-6 <= shown["chosen"]["true"] + 1e-3


def test_what_cannot_be_diagnosed_is_said_in_one_line(world: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="results.json"):
        diagnose(tmp_path / "nothing")
    evaluate(None, world.TASK, tmp_path, protocol=Protocol(offset=20, budget=5), episodes=1, rows=["noop"], workers=1)
    with pytest.raises(UserError, match="no row planner"):
        diagnose(tmp_path)
    for wrong in ({"max_instances": 0}, {"oracle": "maybe"}, {"probe_episodes": 1}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            DiagnoseConfig(**wrong)


def saved(world: Any, folder: Path, **options: Any) -> Path:
    """The folder of an evaluation of the faultless toy, of which no episode fails."""
    options = {"planner": PLANNER, "episodes": 2, "rows": ["planner"], "workers": 1} | options
    evaluate(world.PointWorld(""), world.TASK, folder, protocol=Protocol(offset=20, budget=60), **options)
    return folder


def test_where_nothing_failed_it_is_said_before_anything_is_loaded(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Loaded(Exception):
        pass

    def load(setup: Any) -> None:
        raise Loaded

    monkeypatch.setattr("wmplan.diagnosis.diagnose.load_model", load)
    folder, model = saved(world, tmp_path), world.PointWorld("")
    with pytest.raises(Loaded):
        diagnose(folder, CONFIG, model=model)
    said = capsys.readouterr().err
    assert "no episode failed by the rule 'near'" in said and "more episodes" in said
    with pytest.raises(UserError, match="no episode failed by the rule 'near', and successes is 0"):
        diagnose(folder, replace(CONFIG, successes=0), model=model)
    with pytest.raises(UserError, match="the task has no rule 'nearer'; it has near"):
        diagnose(folder, replace(CONFIG, rule="nearer"), model=model)


def test_an_interruption_says_that_nothing_is_kept(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wmplan.diagnosis.diagnose.collect_probe_data", stop)
    folder = saved(world, tmp_path)
    with pytest.raises(Interrupted, match="nothing is kept, the same command begins anew; .*probe_episodes="):
        diagnose(folder, CONFIG, model=world.PointWorld(""))
    assert not (folder / "diagnosis.json").exists()


def test_instances_of_another_evaluation_are_refused_those_of_a_longer_one_not(world: Any, tmp_path: Path) -> None:
    def play(out: Path, **options: Any) -> None:
        protocol = Protocol(offset=20, budget=5)
        evaluate(None, world.TASK, out, protocol=protocol, rows=["noop"], workers=1, **options)

    play(tmp_path / "one", episodes=2)
    results, file = load_results(tmp_path / "one"), tmp_path / "one" / "instances.json"
    for options, same in (({"episodes": 3}, True), ({"episodes": 2, "seed": 1}, False), ({"episodes": 1}, False)):
        out = tmp_path / str(options)
        play(out, **options)
        file.write_bytes((out / "instances.json").read_bytes())
        if same:
            assert len(evaluated_instances(results, tmp_path / "one")) == 2
        else:
            with pytest.raises(UserError, match=r"instances\.json does not hold the instances"):
                evaluated_instances(results, tmp_path / "one")


def test_the_global_generators_are_left_alone(world: Any, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    run(world, tmp_path, "", budget=6)
    assert torch.equal(before, torch.random.get_rng_state())
