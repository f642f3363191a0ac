"""Settings with several values make one run for each combination, and a command's runs one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wmplan import cli
from wmplan.errors import UserError
from wmplan.evaluation import load_results
from wmplan.settings.sweep import combinations


def test_every_combination_once_in_order() -> None:
    runs = combinations(["planner=cem,icem", "rows=[noop,random]", "seed=range(2)", "episodes=3", "out='a,b'"])
    assert [run.name for run in runs] == [
        "planner=cem,seed=0",
        "planner=cem,seed=1",
        "planner=icem,seed=0",
        "planner=icem,seed=1",
    ]
    assert runs[2].arguments == ["rows=[noop,random]", "episodes=3", "out='a,b'", "planner=icem", "seed=0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1", "out=x"], "none has several"),
        (["seed=1,2", "out=x,y"], "out cannot have several values"),
        (["seed=1,2", "shard=1/2,2/2"], "shard cannot have several values"),
        (["seed=1,1"], "a value is given twice"),
        (["seed=range(100)", "episodes=range(1,100)"], "more than 1000 runs"),
    ],
)
def test_what_is_no_sweep_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        combinations(arguments)


def test_runs_of_a_sweep_stand_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["eval", "-m", "rows=[noop]", "model=null", "workers=1", "protocol.budget=2", f"out={tmp_path}"]
    assert cli.main([*common, "seed=0,1", "episodes=1"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in told[-3:-1]] == [["seed=0", "0", "noop"], ["seed=1", "1", "noop"]]
    assert cli.main(["compare", f"{tmp_path}/seed=0", f"{tmp_path}/seed=1", "row=noop"]) == 2
    assert "are of different instances" in capsys.readouterr().err  # it found both
    runs = json.loads((tmp_path / "sweep.json").read_text())["runs"]
    for run, seed in zip(runs, (0, 1), strict=True):
        result = load_results(tmp_path / run["folder"])
        assert run["settings"] == {"seed": str(seed)} and result["seed"] == seed and run["rows"] == result["rows"]


def test_a_wrong_value_is_told_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "-m", "planner=cem,nonesuch", f"out={tmp_path / 'out'}"]) == 2
    assert "nonesuch" in capsys.readouterr().err and not (tmp_path / "out").exists()
    sizes = ["planner=predictive_sampling,mppi", "planner.num_samples=20", "planner.num_iterations=1"]
    assert cli.main(["eval", "-m", *sizes, f"out={tmp_path / 'out'}"]) == 2
    assert "planner=mppi: num_elites must be from 0 to num_samples" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main(["train", "-m", "seed=0,1", "data=x", "out=y"]) == 2
    assert "it is one of wmplan eval" in capsys.readouterr().err
