"""What a masked goal shows: the goal's scene with the robot where it is now, as a camera would see it."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
import torch

import wmplan
from wmplan.control import MaskedGoal, PlanningSession
from wmplan.control.backend import PlanRequest
from wmplan.control.goals import Pursuit, Target, aims
from wmplan.control.histories import StepObservation, encode, read_observation
from wmplan.control.masked_goal import MOST_CELLS, differing_cells
from wmplan.models import JEPA, WorldModel
from wmplan.models.encoders import SecondLook
from wmplan.planning.objectives.parts import RobotAnywhere

OFF_TABLE = (5.0, 5.0)
START, GOAL = (0.06, 0.02, 0.4), (-0.03, 0.0, 0.9)  # of the block: x, y, angle


@pytest.fixture(scope="module")
def model() -> WorldModel:
    model = wmplan.load("pusht").eval()
    assert isinstance(model, JEPA) and isinstance(model.encoder[0], SecondLook)  # a composite looks like another world
    return model


@pytest.fixture(scope="module")
def env() -> Iterator[gymnasium.Env]:
    env = gymnasium.make("wmplan.envs:wmplan/PushT-v0").unwrapped
    yield env
    env.close()


def photograph(env: gymnasium.Env, block: tuple[float, ...], pusher: tuple[float, ...]) -> np.ndarray:
    physics = env.physics  # type: ignore[attr-defined]
    physics.reset()
    physics.data.qpos[:] = [*block[:2], 0.0, block[2], *pusher]
    physics.forward()
    return env.render()  # type: ignore[return-value]


def target(env: gymnasium.Env, model: WorldModel) -> Target:
    """The block at GOAL; the pusher, which stands elsewhere in the image, masked out."""
    image, bare = (photograph(env, GOAL, pusher) for pusher in ((0.15, -0.15), OFF_TABLE))
    session = PlanningSession(model)
    session.set_goal(MaskedGoal(image, mask=(image == bare).all(-1)))
    assert session.pursuit is not None
    return session.pursuit.targets[0]


def seen(model: WorldModel, frame: np.ndarray) -> StepObservation:
    return read_observation({"pixels": frame}, model, torch.device("cpu"))[0]


@pytest.mark.parametrize("pusher", [(-0.12, 0.1), (0.16, -0.14), (0.0, -0.18)])
def test_the_pusher_stays_in_sight_where_it_is(
    pusher: tuple[float, float], env: gymnasium.Env, model: WorldModel
) -> None:
    goal = target(env, model).seen_from(seen(model, photograph(env, START, pusher)), model).cameras["pixels"][0, 0]
    true = photograph(env, GOAL, pusher).astype(int)
    painted_over = photograph(env, GOAL, OFF_TABLE).astype(int)
    whole = np.abs(painted_over - true).sum()
    assert np.abs(goal.numpy().astype(int) - true).sum() < 0.25 * whole


def test_once_the_block_is_there_the_goal_is_what_is_seen(env: gymnasium.Env, model: WorldModel) -> None:
    """So that holding still costs next to nothing."""
    frame = photograph(env, GOAL, (-0.12, 0.1))
    goal = target(env, model).seen_from(seen(model, frame), model).cameras["pixels"][0, 0]
    pusher = (photograph(env, GOAL, OFF_TABLE) != frame).any(-1)
    assert (goal.numpy() != frame).any(-1).sum() < 0.25 * pusher.sum()


def test_a_state_that_the_goal_gives_is_not_that_of_now(env: gymnasium.Env, model: WorldModel) -> None:
    image = photograph(env, GOAL, (0.15, -0.15))
    session = PlanningSession(model)
    session.set_goal(MaskedGoal(image, mask=np.ones((64, 64), bool), proprio=np.array([0.15, -0.15])))
    assert session.pursuit is not None
    present = seen(model, photograph(env, START, (-0.12, 0.1)))
    goal = session.pursuit.targets[0].seen_from(present, model)
    np.testing.assert_array_equal(goal.cameras["pixels"][0, 0].numpy(), image)


def test_cells_cover_what_differs_once_and_are_not_too_many() -> None:
    rng = np.random.default_rng(0)
    now, then = (torch.from_numpy(rng.integers(0, 255, (1, 1, 50, 70, 3), np.uint8)) for _ in range(2))
    mask = torch.from_numpy(rng.random((1, 1, 50, 70, 1)) < 0.7)
    then[:, :, :, :30] = now[:, :, :, :30] // 2 * 2  # a level of noise
    cells = differing_cells({"top": now}, {"top": then}, {"top": mask})
    assert 1 < len(cells) <= MOST_CELLS and {name for name, _ in cells} == {"top"}
    count = sum(cell.int() for _, cell in cells)
    expected = mask & ((now.int() - then.int()).abs().amax(-1, keepdim=True) > 8)
    torch.testing.assert_close(count, expected.int())
    assert not differing_cells({"top": now}, {"top": now}, {"top": mask})


def test_where_the_robot_hides_the_goal_the_looks_before_tell_it(env: gymnasium.Env, model: WorldModel) -> None:
    """The frame that a camera would see at the goal, rendered, is what the latent should be of."""
    goal_target = target(env, model)
    pursuit, objective = Pursuit(((goal_target,),)), goal_target.objective
    assert isinstance(objective, RobotAnywhere)
    aim = None
    pushers = [(-0.12, 0.1), (0.0, -0.18), (0.16, 0.14), GOAL[:2]]  # in the end it stands where the block should be
    for pusher in pushers:
        present = seen(model, photograph(env, START, pusher))
        encode(model, present)
        aim = aims(model, objective, [pursuit], [present])[0]
        pursuit = aim.pursuit
    alone = aims(model, objective, [Pursuit(((goal_target,),))], [present])[0].latent
    true = encode(model, seen(model, photograph(env, GOAL, pushers[0])))

    def off(latent: torch.Tensor) -> float:
        with torch.no_grad():
            return float(objective(true[:, None, None], latent, torch.zeros(1, 1, 1, 10)))

    assert aim is not None and off(aim.latent) < 0.5 * off(alone)


def test_it_pushes_until_the_block_is_there_and_then_rests(env: gymnasium.Env, model: WorldModel) -> None:
    image, bare = (photograph(env, GOAL, pusher) for pusher in ((0.15, -0.15), OFF_TABLE))
    session = PlanningSession(model, planner={"num_samples": 32, "num_iterations": 2})
    session.set_goal(MaskedGoal(image, mask=(image == bare).all(-1)))
    for block, rests in ((START, False), (GOAL, True)):
        session.reset()
        frame = photograph(env, block, (-0.12, 0.1))
        reply = session.plan(PlanRequest({"pixels": frame, "proprio": np.array([-0.12, 0.1], np.float32)}))
        assert bool(np.abs(reply.actions).max() == 0.0) is rests
