"""A suite by its command: the table says what result folders say, a kill loses nothing, models share instances."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wmplan import cli
from wmplan.errors import UserError
from wmplan.evaluation import load_results
from wmplan.models.loading import card_of, resolve
from wmplan.models.released import import_checkpoint
from wmplan.registry import TASKS
from wmplan.suite.run import run_suite, slug

FEW: dict[str, Any] = {"episodes": 2, "planner_seeds": 1, "workers": 1, "told": lambda line: None}
QUICK = {"name": "cem", "num_samples": 8, "num_iterations": 1, "num_elites": 3}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("suite") / "out"
    run_suite("pusht", out=out, protocols=["lewm", "jepa_wms"], planner=QUICK, **FEW)
    other = str(resolve("pusht"))
    run_suite("pusht", out=out, protocols=["lewm"], planner=QUICK, model=other, **FEW)
    return out


def test_the_table_says_what_the_result_folders_say(suite: Path) -> None:
    rows = json.loads((suite / "table.json").read_text())["rows"]
    assert [(one["task"], one["protocol"]) for one in rows] == [
        ("pusht", "lewm"),
        ("pusht", "jepa_wms"),
        ("pusht", "lewm"),
    ]
    for one in rows:
        result = load_results(suite / one["folder"])
        field = "success_at_end" if one["protocol"] == "jepa_wms" else "success"
        for name in ("planner", "noop", "replay"):
            assert one[name]["success"] == result["rows"][name][field]
        assert one["plan_ms"] == result["rows"]["planner"]["plan_ms"] and one["instances"] == 2
        assert one["replay"]["success"] == 1 and one["noop_without_solved"]["success"] == 0
    text = (suite / "table.md").read_text()
    assert "| pusht | lewm | none | pusht | 2 x 1 |" in text and len(text.splitlines()) == 9


def test_another_model_plays_the_same_instances(suite: Path) -> None:
    first, _, other = json.loads((suite / "table.json").read_text())["rows"]
    assert first["instances_sha256"] == other["instances_sha256"]
    assert first["folder"] != other["folder"] and first["model"] != other["model"]


def test_a_released_checkpoint_of_another_lab_gets_its_row_on_the_same_instances(suite: Path, tmp_path: Path) -> None:
    reference = Path(__file__).parents[1] / "fixtures" / "lewm"  # random weights in the released layout
    torch.save(load_file(reference / "weights.safetensors"), tmp_path / "weights.pt")
    options = {"action_low": [-0.2, -0.2], "action_high": [0.2, 0.2], "control_rate": 10, "statistics": "pusht"}
    options["architecture"] = json.loads((reference / "config.json").read_text())["architecture"]
    model = import_checkpoint(tmp_path / "weights.pt", tmp_path / "theirs", options)
    out, planner = tmp_path / "out", {**QUICK, "horizon": 2}
    run_suite("pusht", out=out, protocols=["lewm"], rows=["planner"], model=str(model), planner=planner, **FEW)
    (row,) = json.loads((out / "table.json").read_text())["rows"]
    ours = json.loads((suite / "table.json").read_text())["rows"][0]
    assert row["reason"] is None and row["planner"] is not None and row["plan_ms"]["p50"] > 0
    assert row["instances_sha256"] == ours["instances_sha256"]


def test_the_page_has_table_films_and_links_that_exist(suite: Path) -> None:
    page = (suite / "table.html").read_text()
    assert page.count("<video") >= 3 and "http" not in page.replace("http://www.w3.org", "")
    for one in json.loads((suite / "table.json").read_text())["rows"]:
        assert f'href="{one["folder"]}/report.html"' in page and (suite / one["folder"] / "report.html").is_file()


def test_a_killed_run_goes_on_and_plays_nothing_twice(tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ["name=arm_reach", f"out={out}", "episodes=30", "rows=[random,replay]", "planner_seeds=1", "workers=1"]
    command = [sys.executable, "-m", "wmplan.cli", "suite", *settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = out / "runs" / "shipped" / "arm_reach-default" / "per_episode.jsonl"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 4) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = journal.read_bytes()
    before = before[: before.rfind(b"\n") + 1]
    run_suite("arm_reach", out=out, rows=["random", "replay"], **{**FEW, "episodes": 30})
    after = journal.read_bytes()
    assert after.startswith(before)
    played = [json.loads(line) for line in after.splitlines()[1:]]
    assert len({(one["row"], one["instance"]) for one in played}) == len(played) == 60
    (row,) = json.loads((out / "table.json").read_text())["rows"]
    assert row["replay"]["success"] == 1


def test_what_is_not_installed_or_does_not_fit_is_told_in_its_row_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["episodes=1", "workers=1", "planner_seeds=1", "rows=[planner,noop]", "planner=cem"]
    few += [f"planner.{name}={value}" for name, value in QUICK.items() if name != "name"]
    assert cli.main(["suite", "name=native", "protocols=[default]", "model=pusht", f"out={tmp_path}", *few]) == 0
    out = capsys.readouterr().out
    assert "pusht-default: done" in out and "arm_reach-default: model pusht" in out and "give model=arm_reach" in out
    suites = {entry.suite for entry in TASKS.values() if entry.suite is not None}
    for suite in suites:
        if not suite.is_installed:
            assert cli.main(["suite", f"name={suite.name}", f"out={tmp_path / suite.name}", "episodes=1"]) == 1
            rows = json.loads((tmp_path / suite.name / "table.json").read_text())["rows"]
            assert rows and all("is not installed: pip install" in one["reason"] for one in rows)
            text = (tmp_path / suite.name / "table.md").read_text()
            assert "not run" in text and text.count("is not installed: pip install") == 1  # once, for all its rows


def test_a_model_that_was_trained_for_another_task_says_so_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, same = "wmplan.envs:wmplan/ArmReach-v0", "wmplan.envs:wmplan/PushT-v0"
    for tasks, reason in ([other], "the model was trained for arm_reach"), ([other, same], None):
        card = {**card_of("pusht"), "task": tasks[0], "tasks": tasks}
        monkeypatch.setattr("wmplan.suite.run.card_of", lambda model, card=card: card)
        run_suite("pusht", out=tmp_path, protocols=["lewm"], model="pusht", rows=["noop"], **FEW)
        (row,) = json.loads((tmp_path / "table.json").read_text())["rows"]
        assert row["reason"] == reason and row["noop"] is not None


def test_several_goals_give_a_row_each(tmp_path: Path) -> None:
    run_suite("arm_reach", out=tmp_path, protocols=["long"], rows=["noop"], **{**FEW, "episodes": 1})
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [one["protocol"] for one in rows] == ["long-offset_50", "long-offset_75", "long-offset_150"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["name=metawrld", "out=x"], "there is no suite 'metawrld'; did you mean 'metaworld'?"),
        (["name=pusht", "out=x", "protocols=[lewn]"], "there is no protocol 'lewn'; did you mean 'lewm'?"),
        (["name=pusht", "out=x", "rows=[planer]"], "there is no row 'planer'"),
        (["name=pusht", "out=x", "episodes=0"], "episodes must be at least 1, got 0"),
        (["name=pusht", "out=x", "protocols=[]"], "protocols is empty, it has to name some of default, dino_wm"),
        (["name=pusht", "out=x", "workers=0"], "workers must be from 1 to 1024, got 0"),
        (["name=pusht", "out=x", "seed=-1"], "seed must be from 0 to 9223372036854775807, got -1"),
        (["name=pusht", "out=x", "device=cupboard"], "device must be auto, cpu, cuda, cuda:1, ... or mps, got"),
        (["name=pusht", "out=x", "planner=cem", "planner.num_samples=-1"], "num_samples must be at least 1, got -1"),
        (["name=pusht", "out=x", "model=nothing"], "there is no model and no folder or file 'nothing'"),
        (["name=pusht"], "out is missing: wmplan suite out=..."),
        (["name=pusht", "out=notes.txt"], "out=notes.txt cannot be made"),
        (["name=pusht", "out=taken"], "out=taken holds table.md"),
    ],
)
def test_a_wrong_command_is_one_line(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "table.md").write_text("mine")
    assert cli.main(["suite", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


ROW = {
    "benchmark": {
        "suite": "native",
        "task": "pusht",
        "protocol": "default",
        "published": [{"success": 90, "by": "a", "source": "b"}],
    },
    "part": "",
    "model": "pusht",
    "folder": "runs/shipped/pusht-default",
    "reason": None,
}


@pytest.mark.parametrize(
    "row",
    [
        {"benchmark": 3},
        {**ROW, "folder": 7},
        {**ROW, "folder": ["runs"]},
        {**ROW, "folder": "runs/../../elsewhere"},
        {**ROW, "folder": "/elsewhere"},
        {**ROW, "model": 5},
        {**ROW, "reason": ["none"]},
        {**ROW, "benchmark": {**ROW["benchmark"], "task": None}},
        {**ROW, "benchmark": {**ROW["benchmark"], "published": [{"success": "x", "by": "a", "source": "b"}]}},
    ],
)
def test_a_damaged_list_of_rows_is_one_line(row: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text(json.dumps({"rows": [row]}))
    with pytest.raises(UserError, match=r"suite.json is damaged .*no episode is lost"):
        run_suite("pusht", out=tmp_path, protocols=["default"], rows=["noop"], **FEW)


def test_a_row_whose_results_are_damaged_says_so_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text(json.dumps({"rows": [ROW]}))
    damaged = tmp_path / ROW["folder"] / "results.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"schema": 1, "ta')
    run_suite("pusht", out=tmp_path, protocols=["lewm"], rows=["noop"], **FEW)
    first, other = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert "results.json is damaged" in first["reason"] and "instances" not in first and other["noop"] is not None
    assert "results.json is damaged" in (tmp_path / "table.html").read_text()


def test_what_is_said_of_a_damaged_list_of_rows_can_be_done(tmp_path: Path) -> None:
    def run() -> bytes:
        run_suite("pusht", out=tmp_path, protocols=["default"], rows=["noop"], **FEW)
        return (tmp_path / "runs" / "shipped" / "pusht-default" / "per_episode.jsonl").read_bytes()

    journal = run()
    (tmp_path / "suite.json").write_text('{"bad')
    with pytest.raises(UserError, match="damaged") as damaged:
        run()
    (advised,) = re.findall(r"write (.*) into it", str(damaged.value))
    (tmp_path / "suite.json").write_text(advised)
    assert run() == journal  # no episode is played again
    assert len(json.loads((tmp_path / "table.json").read_text())["rows"]) == 1


def test_folders_of_models_are_plain() -> None:
    assert slug("hf://org/name-1.2") == "hf_org_name-1.2" and slug("runs/mine/model") == "runs_mine_model"
    assert slug("..") == slug(".") == slug("/") == "model"  # the folder one is in, or the one above
    assert slug("shipped") == "model_shipped"  # a folder of yours: the other is of those that come with wmplan
