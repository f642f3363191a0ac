"""A model that plans in both types, on instances in pairs, and what its card says afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from wmplan.cli import main
from wmplan.control.make import make_controller
from wmplan.data.registered import make_environment
from wmplan.evaluation import Protocol, compare, evaluate, load_episode, load_results
from wmplan.evaluation.evaluate import dtype_before
from wmplan.evaluation.instances import load_instances
from wmplan.evaluation.policies import PlannerRow
from wmplan.evaluation.precision import first_costs
from wmplan.models import JEPA, JEPAConfig, ModelSpec, load, precision
from wmplan.models.checkpoint import add_to_card, save

TASK = "wmplan.envs:wmplan/PushT-v0"
PLANNING = {"planner": {"name": "cem", "num_samples": 12, "num_iterations": 2, "num_elites": 3, "horizon": 2}}
FEW = ["episodes=3", "seed=2000", "workers=1", "protocol.offset=12", "protocol.budget=12", "protocol.episode_steps=40"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of Push-T that has learned nothing."""
    bounds: dict[str, Any] = {"action_low": (-1.0,) * 2, "action_high": (1.0,) * 2}
    scale: dict[str, Any] = {"action_mean": (0.0,) * 2, "action_std": (1.0,) * 2}
    robot: dict[str, Any] = {"proprio_dim": 2, "proprio_mean": (0.0,) * 2, "proprio_std": (1.0,) * 2}
    spec = ModelSpec(image_size=(32, 32), history=2, action_block=5, latent_shape=(10,), **bounds, **scale, **robot)
    torch.manual_seed(0)
    encoder = {"channels": [4, 4], "keypoints": 4, "hidden": 8}
    model = JEPA(JEPAConfig(latent_dim=8, encoder_options=encoder, predictor_options={"width": 16, "depth": 1}), spec)
    with torch.no_grad():
        model.predictor.out.weight.normal_(0.0, 0.3)  # it starts at zero, and no action would matter
    made = tmp_path_factory.mktemp("model") / "small"
    save(model, made, {"name": "small", "task": TASK, "planning": PLANNING})
    return made


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of the figures, and of the model whose card has them."""
    out, model = tmp_path_factory.mktemp("out") / "precision", tmp_path_factory.mktemp("copy") / "small"
    shutil.copytree(folder, model)
    assert main(["precision", str(model), f"out={out}", *FEW]) == 0
    return out, model


def test_the_card_holds_the_figures_of_both_evaluations(measured: tuple[Path, Path], folder: Path) -> None:
    out, model = measured
    told = load(model).card["bfloat16"]
    results = [load_results(out / name) for name in ("float32", "bfloat16")]
    assert told["success"] == {
        name: one["rows"]["planner"]["success"] for name, one in zip(("float32", "bfloat16"), results, strict=True)
    }
    assert told["instances"] == 3 and told["p_value"] == compare(*results).p_value
    assert results[0]["instances_sha256"] == results[1]["instances_sha256"]
    assert results[1]["settings"]["dtype"] == "bfloat16" and "dtype" not in results[0]["settings"]
    before, after = (json.loads((one / "config.json").read_text()) for one in (folder, model))
    assert after["card"].pop("bfloat16") == told and after == before  # and nothing else has changed
    assert json.loads((out / "precision.json").read_text()) == {**told, "why_not": precision.why_worse(told)}
    assert "3 instances, 200 are needed" in precision.why_worse(told)


def test_the_cost_of_first_plans_is_that_of_a_controller_that_made_them(measured: tuple[Path, Path]) -> None:
    """Of the first instance, from a controller whose own search is asked."""
    out, folder = measured
    result, model = load_results(out / "float32"), load(folder)
    instance = load_instances(out / "float32" / "instances.json")[0]
    env = make_environment(TASK, result["settings"]["environment"])
    controller = make_controller(model)
    row = PlannerRow(controller, Protocol())
    instance.start(env)
    row.begin(env, instance, 0)
    row.act()
    plans = [load_episode(out / name / "episodes/planner-0-0000.npz")["plans"][0] for name in ("float32", "bfloat16")]
    costs = [float(controller.last_cost(torch.from_numpy(plan)[None, None])) for plan in plans]
    recorded = load_episode(out / "float32/episodes/planner-0-0000.npz")["plan_cost"][0]
    assert costs[0] == pytest.approx(recorded, rel=1e-4)
    found = first_costs(load(folder), out)
    assert found.shape == (3, 2) and found[0] == pytest.approx(costs, rel=1e-4)
    env.close()


def test_run_again_it_goes_on(measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out, model = measured
    journal = (out / "bfloat16" / "per_episode.jsonl").read_bytes()
    assert main(["precision", str(model), f"out={out}", *FEW]) == 0
    assert (out / "bfloat16" / "per_episode.jsonl").read_bytes() == journal
    assert "float32 stays: its card compares the two types on 3 instances" in capsys.readouterr().out


def test_an_evaluation_that_goes_on_keeps_its_type(
    measured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = measured
    assert dtype_before(out / "bfloat16") == "bfloat16" and dtype_before(out / "float32") == "float32"
    again = ["eval", "task=pusht", f"model={model}", "rows=[planner]", *FEW]
    assert main([*again, f"out={out / 'bfloat16'}"]) == 0
    assert f"planning in bfloat16, as the run that {out / 'bfloat16'} holds" in capsys.readouterr().err
    assert main([*again, f"out={out / 'bfloat16'}", "dtype=float32"]) == 2
    assert 'dtype="bfloat16"' in capsys.readouterr().err


def test_auto_takes_what_the_card_and_this_machine_say(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "small"
    shutil.copytree(folder, model)
    told = {"cost_ratio": 1.0, "success": {"float32": 0.5, "bfloat16": 0.5}, "instances": 200, "p_value": 1.0}
    add_to_card(model, "bfloat16", told)
    command = ["eval", "task=pusht", f"model={model}", "rows=[planner]", *FEW[1:], "episodes=1"]
    assert main([*command, f"out={tmp_path / 'here'}"]) == 0
    assert "planning in float32: " in capsys.readouterr().err
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision, "measure_gain", lambda model: 1.5)
    assert main([*command, f"out={tmp_path / 'there'}"]) == 0
    err = capsys.readouterr().err
    assert err.count("planning in") == 1
    assert "planning in bfloat16: measured 1.50 times as fast as float32 here, and its card says" in err
    assert load_results(tmp_path / "there")["settings"]["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("model", "message"),
    [("hub.safetensors", "has no card to write"), ("nothing", "there is no model")],
)
def test_what_has_no_card_is_refused_before_anything_runs(
    model: str, message: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if model == "hub.safetensors":
        shutil.copy(folder / "weights.safetensors", tmp_path / model)
    assert main(["precision", str(tmp_path / model), f"out={tmp_path / 'out'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_given_is_left_in_its_type(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    model.compute_in(torch.bfloat16)
    protocol = Protocol(offset=12, budget=12, episode_steps=40)
    result = evaluate(model, TASK, tmp_path / "out", rows="planner", episodes=1, protocol=protocol, workers=1)
    assert result["settings"]["dtype"] == "bfloat16" and model.computes_in == torch.bfloat16
