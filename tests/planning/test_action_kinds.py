from __future__ import annotations

import pytest
import torch

from wmplan.errors import UserError
from wmplan.planning import make_planner
from wmplan.planning.action_kinds import Rotations, TwoValues, kept_by, kinds_of_numbers


def test_kinds_stand_for_numbers() -> None:
    assert kinds_of_numbers((), 3) == ()
    assert kinds_of_numbers(("delta",), 3) == ("delta",) * 3
    pose = ("absolute", "absolute", "absolute", "rotation_6d", "gripper")
    assert kinds_of_numbers(pose, 10) == ("absolute",) * 3 + ("rotation_6d",) * 6 + ("gripper",)
    with pytest.raises(UserError, match="one for each of the action's 9 numbers.*got 5 kinds of 10 numbers"):
        kinds_of_numbers(pose, 9)
    with pytest.raises(UserError, match="action_kind must be of velocity, .*, got 'speed'"):
        kinds_of_numbers(("speed",), 2)


def test_rotations_are_rotations_and_keep_those_that_are() -> None:
    rotations = Rotations((1,))
    drawn = torch.randn(2, 5, 3, 2 * 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn[0, 0] = 0.0  # no direction at all
    drawn[0, 1, :, 1:7] = torch.tensor([1.0, 2, 3, 2, 4, 6])  # both the same
    found = rotations.project(drawn, 7).unflatten(-1, (2, 7))
    first, second = found[..., 1:4], found[..., 4:7]
    for one, other, product in ((first, first, 1), (second, second, 1), (first, second, 0)):
        torch.testing.assert_close((one * other).sum(-1), torch.full(one.shape[:-1], product, dtype=torch.float64))
    torch.testing.assert_close(found[..., 0], drawn.unflatten(-1, (2, 7))[..., 0])
    torch.testing.assert_close(rotations.project(found.flatten(-2), 7), found.flatten(-2))
    before, after = drawn.unflatten(-1, (2, 7))[1, ..., 1:4], first[1]
    torch.testing.assert_close(after, before / before.norm(dim=-1, keepdim=True))  # the first keeps its direction


def test_a_gripper_takes_the_nearer_of_its_values_and_lets_gradients_through() -> None:
    actions = torch.tensor([[[[0.3, 0.2, -0.5, 0.9]]]], requires_grad=True)
    found = TwoValues((1,), (0.0,), (0.8,)).project(actions, 2)
    torch.testing.assert_close(found, torch.tensor([[[[0.3, 0.0, -0.5, 0.8]]]]))
    found.sum().backward()
    torch.testing.assert_close(actions.grad, torch.ones(1, 1, 1, 4))


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "predictive_sampling", "gradient"])
def test_plans_of_every_planner_open_or_close(name: str) -> None:
    """The best gripper is open in one step and closed in the next; between the values the cost is lower still.

    A slope leads nowhere between two values, so that of a gradient's plans only the values are asked.
    """
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 0.08])
    wanted = torch.tensor([[0.4, 0.05], [-0.3, 0.01], [0.1, 0.045]])

    def cost(actions: torch.Tensor) -> torch.Tensor:
        return ((actions - wanted) / (high - low)).square().sum((-2, -1))

    planner = make_planner(name, low, high, action_block=1, horizon=3)
    found = planner.plan(cost, constraints=kept_by(("velocity", "gripper"), low.tolist(), high.tolist())).actions[0]
    if name == "gradient":
        assert {round(value, 6) for value in found[:, 1].tolist()} <= {0.0, 0.08}
    else:
        assert found[:, 1].tolist() == pytest.approx([0.08, 0.0, 0.08])
    assert (found[:, 0] - wanted[:, 0]).abs().max() < 0.3
