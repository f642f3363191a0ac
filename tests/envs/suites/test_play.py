"""Play goes through its modes by their chances, ends them in time, and keeps to the bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from wmplan.envs.suites.play import Play


def play(rng: np.random.Generator, **more: Any) -> tuple[Play, list[str]]:
    begun: list[str] = []

    def mode(name: str, action: float) -> Any:
        def begin(state: np.ndarray) -> Any:
            begun.append(name)
            return lambda state: np.full(2, action)

        return begin

    following = {"": {"go": 1.0}, "go": {"stay": 1.0}, "stay": {"go": 0.5, "stay": 0.5}}
    low, high = np.full(2, -1.0), np.full(2, 2.0)
    modes = {"go": mode("go", 5.0), "stay": mode("stay", 0.0)}
    return Play(rng, modes, following, {"go": 6, "stay": 3}, low, high, steady=("stay",), **more), begun


def test_modes_follow_one_another_and_actions_stay_within_the_bounds() -> None:
    policy, begun = play(np.random.default_rng(0))
    actions = np.stack([policy(np.zeros(1)) for _ in range(300)])
    assert begun[0] == "go" and all(two != ("go", "go") for two in zip(begun, begun[1:], strict=False))
    assert {"go", "stay"} == set(begun) and 300 / 6 < len(begun) < 300
    assert actions.min() >= -1 and actions.max() == 2
    assert (actions == 0).all(1).sum() > 50  # the steady mode has no noise


def test_noise_is_as_strong_as_asked_for() -> None:
    policy, _ = play(np.random.default_rng(1), rough=(0.1,))
    policy.steady, policy.modes = (), {name: lambda state: lambda state: np.zeros(2) for name in ("go", "stay")}
    noise = np.stack([policy(np.zeros(1)) for _ in range(4000)])
    np.testing.assert_allclose(noise.std(0), 0.15, rtol=0.15)  # of 0.1 times half the bounds' width
    assert np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1] > 0.6


def test_a_mode_may_end_itself() -> None:
    policy, begun = play(np.random.default_rng(0))
    for _ in range(10):
        policy(np.zeros(1))
        policy.end_mode()
    assert len(begun) == 10
