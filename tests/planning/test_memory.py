"""Searches that the machine does not hold are refused before it is asked for their memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from wmplan import cli
from wmplan.errors import UserError
from wmplan.planning import make_planner, memory
from wmplan.planning.registry import PLANNERS

BOUND = torch.ones(10)


def planner(name: str = "cem", **settings: Any) -> Any:
    return make_planner(name, -BOUND, BOUND, action_block=5, **settings)


@pytest.fixture
def gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with that much free."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**30)


@pytest.mark.parametrize("name", list(PLANNERS))
def test_every_planner_names_its_samples_and_how_many_fit(gibibyte: None, name: str) -> None:
    with pytest.raises(
        UserError, match=r"num_samples=100000000 with horizon=5 takes \d+.\d GiB, 1.0 GiB are free"
    ) as e:
        planner(name, num_samples=10**8)
    fitting = int(str(e.value).split("at most ")[1].split()[0])
    planner(name, num_samples=fitting)
    with pytest.raises(UserError, match="num_samples"):
        planner(name, num_samples=fitting + fitting // 50)


@pytest.mark.parametrize("parameterization", ["free", "held", "spline-zero", "spline-linear", "spline-cubic"])
@pytest.mark.parametrize("noise_beta", [0.0, 2.0])
def test_a_horizon_that_does_not_fit_is_named(gibibyte: None, parameterization: str, noise_beta: float) -> None:
    with pytest.raises(UserError, match=r"^(num_samples=\d+ with )?horizon=100000000 takes .* GiB are free: "):
        planner(horizon=10**8, parameterization=parameterization, noise_beta=noise_beta)


def test_one_sample_of_a_horizon_too_long_is_no_matter_of_samples(gibibyte: None) -> None:
    with pytest.raises(UserError, match=r"^horizon=100000000 takes .*: it must be shorter on this machine"):
        planner(horizon=10**8, num_samples=30)


def test_a_plan_counts_its_robots_and_its_own_horizon(gibibyte: None) -> None:
    one = planner(num_samples=100_000)
    with pytest.raises(UserError, match="GiB for 64 robots, 1.0 GiB are free"):
        one.plan(lambda actions: actions.sum((2, 3)), nominal=torch.zeros(64, 5, 10))
    with pytest.raises(UserError, match="num_samples=100000 with horizon=5000 takes"):
        one.plan(lambda actions: actions.sum((2, 3)), horizon=5000)


def test_nobody_asks_for_what_is_free_before_an_ordinary_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(device: torch.device) -> int:
        raise AssertionError

    monkeypatch.setattr(memory, "free_bytes", asked)
    plan = planner(num_samples=300).plan(lambda actions: actions.sum((2, 3)), nominal=torch.zeros(16, 5, 10))
    assert plan.actions.shape == (16, 5, 10)


def test_what_is_taken_is_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensors of a plan, counted where they are made, are within what is foreseen, and not far below."""

    class Largest(TorchFunctionMode):
        size = 0

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.size = max(self.size, out.untyped_storage().nbytes())  # of a view, what it looks at
            return out

    for parameterization in ("free", "spline-cubic"):
        one = planner(num_samples=20_000, parameterization=parameterization)
        with Largest() as largest:
            one.plan(lambda actions: actions[:, :, 0, 0], nominal=torch.zeros(1, 5, 10))
        monkeypatch.setattr(memory, "LARGE", 0)
        monkeypatch.setattr(memory, "free_bytes", lambda device, size=largest.size: 2 * size)
        with pytest.raises(UserError, match="num_samples=20000"):
            planner(num_samples=20_000, parameterization=parameterization)
        monkeypatch.setattr(memory, "free_bytes", lambda device, size=largest.size: 8 * size)
        planner(num_samples=20_000, parameterization=parameterization)
        monkeypatch.undo()


def test_the_command_line_says_it_in_one_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["episodes=1", "rows=[planner]", "planner.num_samples=1000000000000", f"out={tmp_path / 'out'}"]
    assert cli.main(["eval", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "num_samples=1000000000000 with horizon=5 takes" in error
