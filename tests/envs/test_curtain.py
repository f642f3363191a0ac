"""A curtain hides a third of what is observed for a while, and nothing else changes."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from wmplan.errors import UserError

ID = "wmplan.envs:wmplan/PushT-v0"


def test_the_middle_third_is_hidden_in_the_given_steps_of_each_episode() -> None:
    hidden, plain = (gymnasium.make(ID, image_size=48, **options).unwrapped for options in ({"curtain": [2, 3]}, {}))
    for seed in (0, 1):
        seen, shown = hidden.reset(seed=seed)[0]["pixels"], plain.reset(seed=seed)[0]["pixels"]
        for step in range(6):
            if step in (2, 3):
                assert (seen[:, 16:32] == 128).all()
                assert np.array_equal(seen[:, :16], shown[:, :16]) and np.array_equal(seen[:, 32:], shown[:, 32:])
            else:
                assert np.array_equal(seen, shown)
            assert np.array_equal(hidden.render(), shown)  # type: ignore[arg-type]
            seen, shown = (one.step(np.array([0.1, -0.1]))[0]["pixels"] for one in (hidden, plain))
    hidden.close()
    plain.close()


def test_an_episode_begins_where_it_is_reset_to_and_goals_show_all() -> None:
    env = gymnasium.make(ID, curtain=(1, 1)).unwrapped
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros(2))
    state = env.get_state()  # type: ignore[attr-defined]  # four steps on in time
    seen = env.reset(options={"state": state, "goal_state": state})[0]["pixels"]
    goal = env.goal_observation()["pixels"]  # type: ignore[attr-defined]
    assert np.array_equal(seen, goal) and not (seen[:, 30] == 128).all()
    assert (env.step(np.zeros(2))[0]["pixels"][:, 30] == 128).all()
    env.close()


@pytest.mark.parametrize("curtain", [[3], [3, 2], [-1, 2], "ab", [0.5, 2]])
def test_what_is_no_pair_of_steps_is_named(curtain: object) -> None:
    with pytest.raises(UserError, match="^curtain must be "):
        gymnasium.make(ID, curtain=curtain)
