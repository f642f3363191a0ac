"""What policies that collect data have in common: they do one thing for a while, and then another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from wmplan.environment import Array, Policy


class Play:
    """Goes from mode to mode, with noise whose strength changes with them; one object an episode.

    Args:
        rng: the episode's generator.
        modes: by name, a function that begins the mode: it draws what the mode is about, and gives a function from task
            state (D,) to action (A,).
        following: by name, what follows with which probability, and under "" what comes first.
        longest: by name, the most robot steps that a mode lasts; at least a third of it.
        low, high: bounds of the actions, (A,).
        steady: modes without noise.
        rough: standard deviations of the noise, as shares of half the bounds, one of which is drawn for each mode.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        modes: Mapping[str, Callable[[Array], Callable[[Array], Array]]],
        following: Mapping[str, Mapping[str, float]],
        longest: Mapping[str, int],
        low: Array,
        high: Array,
        *,
        steady: tuple[str, ...] = (),
        rough: tuple[float, ...] = (0.0, 0.1, 0.3, 0.6),
    ) -> None:
        self.rng, self.modes, self.following, self.longest = rng, modes, following, longest
        self.low, self.high, self.steady, self.rough = low, high, steady, rough
        self.mode, self.steps_left = "", 0
        self.noise = np.zeros(len(low))

    def __call__(self, state: Array) -> Array:
        """The action (A,) for the task state (D,)."""
        if self.steps_left <= 0:
            self._begin_next(state)
        self.steps_left -= 1
        action = self.act(state)
        # Correlated in time, of the standard deviation `roughness`.
        fresh = self.rng.normal(0.0, self.roughness, len(self.low)) * (self.high - self.low) / 2
        self.noise = 0.8 * self.noise + 0.6 * fresh
        if self.mode not in self.steady:
            action = action + self.noise
        return np.clip(action, self.low, self.high)

    def end_mode(self) -> None:
        """Let the present mode be over with this step."""
        self.steps_left = 0

    def _begin_next(self, state: Array) -> None:
        chances = self.following[self.mode]
        self.mode = str(self.rng.choice(list(chances), p=list(chances.values())))
        longest = self.longest[self.mode]
        self.steps_left = int(self.rng.integers(max(1, longest // 3), longest + 1))
        self.roughness = float(self.rng.choice(self.rough))
        self.act = self.modes[self.mode](state)


def arm_play(
    rng: np.random.Generator,
    solve: Callable[[Array], Policy],
    places: Array,
    hand: slice,
    object: slice | None,
    stretch: float = 1.0,
    turns: int = 0,
    others: Sequence[Array] = (),
) -> Play:
    """Play of an arm whose actions are a displacement of its hand, turns of it and a gripper, from -1 to 1.

    It solves the task or something like it; wanders anywhere; fumbles about the object, with the gripper open, closed
    or between, and pushes what is there; and rests.

    Args:
        solve: begins a try to solve the task, or to bring what it is about elsewhere.
        places: corners (2, 3) of the box that the hand wanders in, in metres.
        hand, object: their x, y, z in a task state; None where there is no object.
        stretch: factor of all durations; 1 suits 80 robot steps a second.
        turns: entries of an action that turn the hand, between displacement and gripper.
        others: x, y, z of further things that it fumbles about, written anew by the simulator with each step.
    """

    def going(target: Callable[[Array], Array]) -> Policy:
        gripper, gain = rng.choice([-1.0, 0.0, 1.0, rng.uniform(-1, 1)]), rng.choice([5.0, 10.0, 25.0])
        turned = rng.uniform(-0.5, 0.5, turns)
        return lambda state: np.concatenate([np.clip(gain * (target(state) - state[hand]), -1, 1), turned, [gripper]])

    def wander(state: Array) -> Policy:
        place: Array = rng.uniform(places[0], places[1])
        return going(lambda state: place)

    def fumble(state: Array) -> Policy:
        if object is None:
            return wander(state)
        aside = rng.normal(0, [0.06, 0.06, 0.03]) + [0, 0, 0.02]
        which = int(rng.integers(-1, len(others))) if others else -1
        if which >= 0:
            return going(lambda state: others[which] + aside)
        return going(lambda state: state[object] + aside)

    def rest(state: Array) -> Policy:
        still = np.append(np.zeros(3 + turns), rng.uniform(-1, 1))
        return lambda state: still

    longest = {"solve": 90, "wander": 40, "fumble": 40, "rest": 10}
    return Play(
        rng,
        {"solve": solve, "wander": wander, "fumble": fumble, "rest": rest},
        {
            "": {"solve": 0.6, "wander": 0.2, "fumble": 0.2},
            "solve": {"solve": 0.3, "wander": 0.2, "fumble": 0.2, "rest": 0.3},
            "wander": {"solve": 0.5, "wander": 0.2, "fumble": 0.2, "rest": 0.1},
            "fumble": {"solve": 0.5, "wander": 0.2, "fumble": 0.2, "rest": 0.1},
            "rest": {"solve": 0.4, "wander": 0.3, "fumble": 0.3},
        },
        {mode: max(1, round(stretch * steps)) for mode, steps in longest.items()},
        np.full(4 + turns, -1.0),
        np.full(4 + turns, 1.0),
        steady=("rest",),
    )
