"""Both ways between stable-worldmodel and us.

The tests against the published package need WMPLAN_PEER_PYTHON, the python of an environment with stable-worldmodel
0.1.1 (and transformers, and wmplan's dependencies); without it they are skipped.
"""

import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import wmplan.models as models
from wmplan.models.released.lewm import LeWM
from wmplan.models.released.stable_worldmodel import StableWorldModelCost

HERE = Path(__file__).parent
PEER = os.environ.get("WMPLAN_PEER_PYTHON")
needs_peer = pytest.mark.skipif(not PEER, reason="WMPLAN_PEER_PYTHON names no python with stable-worldmodel")


def run_peer(script, *arguments):
    path = os.pathsep.join([str(HERE.parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [str(PEER), "-W", "ignore", str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr[-3000:]


def load_quietly(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models.load(path)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peer")
    run_peer("peer_outputs.py", folder / "models")
    return folder / "models"


@needs_peer
def test_its_lewm_of_real_size_computes_the_same_here(outputs):
    theirs = torch.load(outputs / "lewm.outputs")
    if "frames" not in theirs:
        pytest.skip("the peer environment has no transformers")
    model = load_quietly(outputs / "lewm")
    with torch.inference_mode():
        assert (model.encode(theirs["frames"]) - theirs["emb"]).abs().max() <= 1e-4
        for time in (1, 3):
            case = theirs[f"from{time}"]
            past = case["actions"][:, 0, : time - 1] if time > 1 else None
            predicted = model.rollout(case["context"], case["actions"][:, :, time - 1 :], past)
            assert (predicted - case["predicted"]).abs().max() <= 1e-4
        costs = model.native_objective()(predicted, theirs["goal"][:, 0], None)
    assert (costs - theirs["cost"]).abs().max() <= 1e-4 * theirs["cost"].abs().max()


@needs_peer
@pytest.mark.parametrize("name", ["pldm_script", "pldm_layer", "pldm_bare"])
def test_its_pldm_computes_the_same_here(outputs, name):
    theirs = torch.load(outputs / f"{name}.outputs")
    if "frames" not in theirs:
        pytest.skip("the peer environment has no transformers")
    model = load_quietly(outputs / name)
    with torch.inference_mode():
        context, goal = model.encode(theirs["frames"]).split(1)  # (1, 1, D) each
        predicted = model.rollout(context, theirs["actions"])
        costs = model.native_objective()(predicted, goal[:, 0], None)
    assert (predicted - theirs["predicted"]).abs().max() <= 1e-4
    assert (costs - theirs["cost"]).abs().max() <= 1e-4 * theirs["cost"].abs().max()


@needs_peer
def test_its_dino_wm_of_real_size_computes_the_same_here(outputs):
    theirs = torch.load(outputs / "prejepa.outputs")
    model = load_quietly(outputs / "prejepa")
    with torch.inference_mode():
        context = model.encode_tokens(theirs["visual"], theirs["proprio"])
        predicted = model.rollout(context, theirs["actions"])
    assert (predicted - theirs["predicted"][..., :394]).abs().max() <= 1e-4


@needs_peer
def test_its_solver_plans_with_our_model(fixtures, tmp_path):
    run_peer("peer_solve.py", fixtures / "lewm", tmp_path / "plan.pt")
    found = torch.load(tmp_path / "plan.pt")
    assert found["plan"].shape == (1, 2, 10)
    assert (found["cost"] < found["still"]).all()


def test_costs_are_those_of_the_model_and_what_is_encoded_is_kept(parity):
    reference = parity("lewm")
    model = LeWM.from_state_dict(reference.weights, reference.architecture)
    frames = reference.io["frames_uint8"]
    shown = {"pixels": frames[0], "goal": frames[-1]}
    info = {name: frame[None, None, None].expand(1, 4, 1, -1, -1, -1) for name, frame in shown.items()}
    cost = StableWorldModelCost(model)
    with torch.inference_mode():
        found = cost.get_cost(info, reference.io["actions"][None])
        assert reference.worst(found[0], "cost") <= 1e-4
        info["pixels"] = info["goal"] = None  # not looked at again
        assert torch.equal(cost.get_cost(info, reference.io["actions"][None]), found)


def test_its_actions_are_normalised_and_ours_are_not(parity):
    from dataclasses import replace

    reference = parity("lewm")
    plain = LeWM.from_state_dict(reference.weights, reference.architecture)
    spec = replace(plain.spec, action_mean=(3.0, -1.0), action_std=(0.5, 2.0))
    model = LeWM.from_state_dict(reference.weights, reference.architecture, spec)
    frames = reference.io["frames_uint8"][[0, -1], None, None, None]
    actions = reference.io["actions"][None]
    with torch.inference_mode():
        ours, theirs = (
            StableWorldModelCost(m).get_cost({"pixels": frames[0], "goal": frames[1]}, actions) for m in (model, plain)
        )
    assert torch.allclose(ours, theirs, atol=1e-4)
    scaler = StableWorldModelCost(model).scaler
    step = np.array([[4.0, 1.0]], dtype=np.float32)
    assert np.allclose(scaler.transform(step), [[2.0, 1.0]])
    assert np.allclose(scaler.inverse_transform(scaler.transform(step)), step)


def test_transformed_pixels_are_refused(parity):
    reference = parity("lewm")
    cost = StableWorldModelCost(LeWM.from_state_dict(reference.weights, reference.architecture))
    with pytest.raises(ValueError, match="no transform"):
        cost.get_cost({"pixels": torch.zeros(1, 1, 1, 3, 56, 56)}, torch.zeros(1, 1, 2, 10))
