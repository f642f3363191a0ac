"""Between its first candidates and its last update, a search on a GPU reads no number back: nothing waits for it.

There is no GPU here: the search runs on the processor as it would on one (device.is_read_at_once says no), under modes
that see every operation, and gives the same plan to the bit.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from wmplan import device
from wmplan.bench.models import LEWM, make_model
from wmplan.bench.problem import make_problem
from wmplan.models.base import WorldModel
from wmplan.models.jepa import JEPA, JEPAConfig
from wmplan.models.released.dino_wm import DinoWM
from wmplan.models.released.lewm import LeWM
from wmplan.planning.cost import LatentCost
from wmplan.planning.objectives.registry import LatentDistance
from wmplan.planning.planner import Planner
from wmplan.planning.registry import make_planner

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique2"}
"""Operations of ATen for which the processor waits."""
METHODS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__"}
SMALL_DINO = {
    "enc_dim": 24, "num_patches": 4, "num_hist": 3, "action_dim": 4, "raw_action_dim": 2, "action_emb_dim": 6,
    "proprio_dim": 2, "proprio_emb_dim": 2, "predictor": {"depth": 2, "heads": 2, "dim_head": 8, "mlp_dim": 20},
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "cem": {"num_elites": 4},
    "icem": {"num_elites": 4},
    "mppi": {"num_elites": 6},
    "predictive_sampling": {},
    "gradient": {},
    "hybrid": {"num_elites": 4, "refine_iterations": 2},
}


class Reads:
    """Counts what is read back while it is on."""

    def __init__(self) -> None:
        self.on, self.found = False, []  # type: bool, list[str]
        reads = self

        class Methods(TorchFunctionMode):
            def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = getattr(function, "__name__", "")
                if reads.on and name in METHODS:
                    reads.found.append(name)
                return function(*args, **(kwargs or {}))

        class Operations(TorchDispatchMode):
            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = function.overloadpacket.__name__
                if reads.on and name in READS:
                    reads.found.append(name)
                return function(*args, **(kwargs or {}))

        self.modes = Methods(), Operations()


def watched(planner: Planner[Any], reads: Reads) -> None:
    """Turn the counting on with the first candidates, and off after the last update."""
    propose, update, last = planner.propose, planner.update, planner.num_iterations - 1

    def first(state: Any, space: Any, iteration: int) -> Tensor:
        reads.on = True
        return propose(state, space, iteration)

    def then(state: Any, elites: Any, space: Any, iteration: int) -> Any:
        found = update(state, elites, space, iteration)
        reads.on = reads.on and iteration < last
        return found

    planner.propose, planner.update = first, then  # type: ignore[method-assign]


def hidden_state() -> WorldModel:
    spec = make_model("keypoint").spec
    model = JEPA(JEPAConfig(predictor="hidden_state", predictor_options={"hidden": 16, "width": 16}), spec)
    return model.eval().requires_grad_(False)


def small_lewm() -> WorldModel:
    sizes = {**LEWM, "predictor": {**LEWM["predictor"], "depth": 2, "mlp_dim": 64}}
    return LeWM.build(sizes).eval().requires_grad_(False)


MODELS = {
    "keypoint": lambda: make_model("keypoint"),
    "hidden_state": hidden_state,
    "lewm": small_lewm,
    "dino_wm": lambda: DinoWM.build(SMALL_DINO).eval().requires_grad_(False),
}


def plan(name: str, model: WorldModel, reads: Reads | None = None, **cost: Any) -> Tensor:
    """Two environments' plan."""
    problem = make_problem(model, 2)
    low, high = model.spec.block_bounds()
    sizes = {"num_samples": 12, "num_iterations": 3, "horizon": 3, **SETTINGS[name]}
    planner = make_planner(name, low, high, action_block=model.spec.action_block, **sizes)
    planner.reset([1, 2])
    objective = LatentDistance(steps="sum", executed=0.5) if cost.pop("every_step", False) else LatentDistance()
    judged = LatentCost(model, objective, problem.context, problem.goal, problem.past_actions, **cost)
    if reads is None:
        return planner.plan(judged).actions
    watched(planner, reads)
    with reads.modes[0], reads.modes[1]:
        return planner.plan(judged).actions


@pytest.mark.parametrize("name", SETTINGS)
def test_no_planner_waits_within_its_iterations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("keypoint")
    usual = plan(name, model)
    monkeypatch.setattr(device, "is_read_at_once", lambda tensor: False)
    reads = Reads()
    assert torch.equal(plan(name, model, reads), usual)
    assert reads.found == []


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("cost", [{}, {"every_step": True, "executed": 0.4}, {"arrival": torch.tensor([2.0, 3.0])}])
def test_no_model_waits_in_its_rollout(name: str, cost: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[name]()
    monkeypatch.setattr(device, "is_read_at_once", lambda tensor: False)
    reads = Reads()
    plan("icem", model, reads, **cost)
    assert reads.found == []


def test_the_count_sees_what_is_read() -> None:
    """Or else the tests above would say nothing."""
    reads = Reads()
    plan("cem", make_model("keypoint"), reads)
    assert {"item", "_local_scalar_dense"} <= set(reads.found)
