"""Two result folders compared: figures against hand counts, and one line where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan import cli
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, compare, load_results
from wmplan.evaluation.comparison import compare_results
from wmplan.evaluation.instances import Instance, digest, save_instances
from wmplan.evaluation.results import aggregate, write_results

A = [[1, 1], [1, 0], [0, 0], [0, 0], [0, 1], [0, 0]]  # success of each instance under two planner seeds
B = [[1, 1], [1, 1], [1, 1], [0, 0], [0, 0], [1, 0]]


def write(folder: Path, outcomes: Any, *, first: int = 0, planner: str = "icem", rule: str = "pose") -> Path:
    """A result folder of instances from number `first` on; at the end, nothing succeeds."""
    folder.mkdir()
    instances = [
        Instance(i, first + i, 0, np.array([float(first + i)]), np.ones(1), np.zeros((1, 1), np.float32), 2.0)
        for i in range(len(outcomes))
    ]
    records = [
        {
            "instance": i,
            "row": "planner",
            "planner_seed": seed,
            "success": bool(success),
            "success_step": 3 if success else None,
            "success_at_end": False,
            "rules": {
                rule: {"success": bool(success), "success_step": 3 if success else None, "success_at_end": False}
            },
            **dict.fromkeys(("start_distance", "min_distance", "final_distance", "gap_closed"), 1.0),
            "plan_ms": [1.0],
            "env_steps": 5,
        }
        for i, seeds in enumerate(outcomes)
        for seed, success in enumerate(seeds)
    ]
    result = {
        "schema": 1,
        "task": "mine/Task-v0",
        "episodes": len(instances),
        "seed": 0,
        "instances_sha256": digest(instances),
        "protocol": {"budget": 50},
        "planner": {"name": planner, "num_samples": 300},
        "model": {"name": "mine"},
        "settings": {"environment": {}},
        "rows": {"planner": aggregate(records, 5)},
        "per_episode": records,
    }
    save_instances(folder / "instances.json", instances, "mine/Task-v0", 0, Protocol())
    write_results(folder / "results.json", result)
    return folder


def test_figures_are_those_counted_by_hand(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", A), write(tmp_path / "b", B, planner="cem")
    out = tmp_path / "comparison.json"
    found = compare_results(str(first), str(second), out=str(out))
    assert json.loads(out.read_text()) == json.loads(json.dumps(found))
    any_time, at_end = found["comparisons"]
    assert (any_time["rule"], any_time["when"]) == ("pose", "any time")
    assert any_time["first"] == pytest.approx(4 / 12) and any_time["second"] == pytest.approx(7 / 12)
    assert (any_time["only_first"], any_time["only_second"]) == (1, 4)
    # Instances differ by 1, 2, -1 and 1: of 16 flips, 4 have a sum of at least 3, and 4 of -3 or less.
    assert any_time["p_value"] == pytest.approx(8 / 16)
    assert any_time["difference"] == pytest.approx(3 / 12)
    assert any_time["ci95"][0] < 3 / 12 < any_time["ci95"][1]
    assert at_end["difference"] == 0 and at_end["p_value"] == 1
    assert found["differs"] == {"planner.name": ["icem", "cem"]}
    assert compare(load_results(first), load_results(second)).p_value == any_time["p_value"]


def test_only_what_both_have_is_compared(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", A[:4]), write(tmp_path / "b", [[one[0]] for one in B])
    found = compare_results(str(first), str(second))
    assert (found["instances"], found["planner_seeds"]) == (4, [0])
    assert (found["comparisons"][0]["first"], found["comparisons"][0]["second"]) == (0.5, 0.75)
    later = write(tmp_path / "later", B[2:], first=2)  # its instance 0 is the others' instance 2
    found = compare_results(str(first), str(later))
    assert (found["instances"], found["comparisons"][0]["only_second"]) == (2, 2)


def test_the_command_prints_the_table_and_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write(tmp_path / "a", A), write(tmp_path / "b", B)
    assert cli.main(["compare", str(first), str(second), "difference=0.1", "power=0.9"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "6 instances that both have, 2 planner seeds" in lines[0]
    assert lines[3].split()[:6] == ["pose,", "any", "time", "33.3", "58.3", "+25.0"]
    assert any(line.startswith("90 % power: a difference of 10 points takes ") for line in lines)
    assert lines[-1] == "90 % power: there are 6 instances, too few to show any difference"
    assert not any("left out" in line for line in lines)
    assert cli.main(["compare", str(first), str(write(tmp_path / "fewer", [[one[0]] for one in B[:4]]))]) == 0
    said = "what one of them has alone is left out: A has 6 instances, B 4; A has 2 planner seeds, B 1"
    assert said in capsys.readouterr().out.splitlines()
    assert cli.main(["compare", str(first), str(write(tmp_path / "again", A)), "difference=0.1"]) == 0
    assert "where 10 % of the episodes differ, the fewest that can; here 0 % do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a", "other"], "are of different instances: compare runs of the same task, seed"),
        (["a", "nowhere"], "there is no nowhere/results.json"),
        (["a", "renamed"], "no rule in common"),
        (["a", "b", "row=oracle"], "has no row 'oracle'; it has planner"),
        (["a", "b", "difference=0"], "difference must be above 0 and at most 1, got 0"),
        (["a", "b", "difference=1.5"], "difference must be above 0 and at most 1, got 1.5"),
        (["a", "b", "difference=-0.03"], "difference must be above 0 and at most 1, got -0.03"),
        (["a", "again", "power=90"], "power must be above 0.05 and below 1, got 90"),
        (["a", "b", "out=b"], "out=b has to name a file, it is a folder"),
        (["a", "b", "power=1"], "power must be above 0.05 and below 1, got 1"),
        (["a"], "second is missing: wmplan compare FIRST SECOND"),
        (["a", "b", "out=nowhere/x.json"], "out=nowhere/x.json cannot be written: there is no folder nowhere"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    given: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a", A)
    write(tmp_path / "b", B)
    write(tmp_path / "again", A)
    write(tmp_path / "other", B, first=100)
    write(tmp_path / "renamed", B, rule="mine")
    assert cli.main(["compare", *given]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_results_without_common_seeds_are_refused(tmp_path: Path) -> None:
    result = load_results(write(tmp_path / "a", A))
    other = {**result, "per_episode": [{**one, "planner_seed": 7} for one in result["per_episode"]]}
    with pytest.raises(UserError, match="share no episodes of the row 'planner'"):
        compare(result, other)
