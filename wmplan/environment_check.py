"""What `wmplan check-env` runs: every part of the environment contract, really tried, a line each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmplan.data.registered import make_environment
from wmplan.environment import ABILITIES, because, has, missing
from wmplan.environment_uses import conclusion
from wmplan.errors import UserError
from wmplan.gym.adapter import check_actions, check_frame
from wmplan.registry import task_id
from wmplan.settings.numbers import MAX_SEED, whole_number

MOST_NAMES = 8  # listed in a line
MISSING, OK, FAULTY = "missing", "ok", "FAULTY"


@dataclass(frozen=True)
class Line:
    """One line of the report.

    Attributes:
        name: of what was tried.
        status: OK, MISSING or FAULTY.
        said: what was found, or what cannot be done.
        required: whether nothing works without it.
    """

    name: str
    status: str
    said: str
    required: bool = False


class Fault(Exception):
    """What is wrong with an environment, in one line."""


def check_environment(
    id: str,
    options: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    steps: int = 20,
    say: Callable[[str], None] = print,
) -> list[Line]:
    """Try an environment, telling each line as it is found, and at the end which commands can use it.

    Args:
        id: Gymnasium id, MODULE:ID, or the name of a task.
        options: of the environment.
        seed: of resets and actions.
        steps: robot steps of each trial.
        say: takes the lines.

    Raises:
        UserError: if the required part does not hold; after all that could be tried was told.
    """
    seed, steps = whole_number(seed, "seed", 0, MAX_SEED), whole_number(steps, "steps", 1)
    env: Any = make_environment(task_id(id), options or {})
    lines = []
    try:
        for line in trials(env, seed, steps):
            say(f"{line.status:8}{line.name.replace('_', ' '):16}{line.said}")
            lines.append(line)
        broken = [line for line in lines if line.required and line.status != OK]
        if not broken:
            say("\n" + conclusion(env, [line.name for line in lines if line.status == FAULTY]))
    finally:
        env.close()
    if broken:
        raise UserError(f"{id} cannot be used: " + "; ".join(f"{line.name}: {line.said}" for line in broken))
    return lines


def trials(env: Any, seed: int, steps: int) -> Iterator[Line]:
    """The lines, the required part first; abilities are not tried on what does not hold that."""
    held = True
    for required, trial in REQUIRED.items():
        line = tried(required, trial, env, seed, steps, required=True)
        held = held and line.status == OK
        yield line
    for name, ability in ABILITIES.items():
        if missing(env, name):
            yield Line(name, MISSING, f"no {', '.join(missing(env, name))}{because(env, name)}: {ability.without}")
        elif held:
            yield tried(name, ABILITY_TRIALS.get(name, lambda env, seed, steps: ""), env, seed, steps)
    if held:
        yield Line("speed", OK, speed(env, seed, steps))


Trial = Callable[[Any, int, int], str]


def tried(name: str, trial: Trial, env: Any, seed: int, steps: int, *, required: bool = False) -> Line:
    """The line of one trial; whatever the environment raises is a fault of its."""
    try:
        return Line(name, OK, trial(env, seed, steps), required)
    except (Fault, UserError) as error:
        return Line(name, FAULTY, str(error), required)
    except Exception as error:
        return Line(name, FAULTY, " ".join(f"it raised {type(error).__name__}: {error}".split()), required)


def expect(holds: bool, fault: str) -> None:
    if not holds:
        raise Fault(fault)


# ------------------------------------------------------------------ the required part


def try_actions(env: Any, seed: int, steps: int) -> str:
    """A box of finite numbers, and names of as many."""
    task = env.task
    check_actions(env.action_space)
    low, high = np.asarray(task.action_low, float), np.asarray(task.action_high, float)
    expect(low.shape == high.shape == (len(task.action_names),), "action_low, action_high and action_names differ")
    expect(bool(np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()), "bounds must be finite")
    bounds = zip(task.action_names, low, high, strict=True)
    return listed([f"{name} {one:g} to {other:g}" for name, one, other in bounds])


def try_reset(env: Any, seed: int, steps: int) -> str:
    """The same seed gives the same start."""
    frames = []
    for _ in range(2):
        env.reset(seed=seed)
        frames.append(env.render())
        for action in actions(env, seed, 3):  # so that there is something to come back from
            env.step_physics(action)
    expect(np.array_equal(*frames), f"two resets with seed={seed} give different frames")
    return f"the same frame twice from seed={seed}"


def try_step(env: Any, seed: int, steps: int) -> str:
    """The same actions lead to the same frames."""
    first, second = (played(env, seed, steps) for _ in range(2))
    differs = [step for step, (one, other) in enumerate(zip(first, second, strict=False)) if (one != other).any()]
    expect(len(first) == len(second), f"the same actions end an episode after {len(first)} and {len(second)} steps")
    expect(not differs, f"the same actions from seed={seed} give another frame at step {differs[0] if differs else 0}")
    return f"{len(first) - 1} steps of random actions, twice the same; {env.control_rate:g} robot steps a second"


def try_render(env: Any, seed: int, steps: int) -> str:
    """uint8 frames of the size that is asked for."""
    env.reset(seed=seed)
    own = check_frame(env.render())
    for size, frame in ((env.image_size, own), ((48, 64), check_frame(env.render((48, 64))))):
        expect(frame.shape[:2] == tuple(size), f"a frame of {size} was asked for, it has {frame.shape[:2]}")
    frames = played(env, seed, steps)
    expect(
        any((frame != frames[0]).any() for frame in frames),
        f"no pixel changes in {len(frames) - 1} random steps (steps=N tries more)",
    )
    return f"uint8 {own.shape}, and at other sizes"


REQUIRED: dict[str, Trial] = {"actions": try_actions, "reset": try_reset, "step": try_step, "render": try_render}


# ------------------------------------------------------------------ abilities


def try_proprioception(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    proprio, names = np.asarray(env.observe()["proprio"]), env.task.proprio_names
    expect(proprio.shape == (len(names),), f"{len(names)} names for numbers of shape {proprio.shape}")
    expect(bool(np.isfinite(proprio).all()), "it is not finite")
    return listed(names)


def try_state(env: Any, seed: int, steps: int) -> str:
    """Restored from the middle of an episode, the same actions give the same states and frames, bit for bit."""
    env.reset(seed=seed)
    for action in actions(env, seed, 3):
        env.step_physics(action)
    start, recorded = np.array(env.get_state()), []
    for action in actions(env, seed + 1, steps):
        env.step_physics(action)
        recorded.append((np.array(env.get_state()), env.render()))
    env.set_state(start)
    expect(np.array_equal(env.get_state(), start), "get_state() after set_state() is another state")
    for step, (action, (state, frame)) in enumerate(zip(actions(env, seed + 1, steps), recorded, strict=True), 1):
        env.step_physics(action)
        expect(np.array_equal(env.get_state(), state), f"a replay from set_state() has another state at step {step}")
        expect(np.array_equal(env.render(), frame), f"a replay has another frame at step {step}")
    return f"{len(start)} numbers; {steps} steps replayed bit for bit, frames too"


def try_task_state(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    state, names = np.asarray(env.task_state()), env.task.state_names
    expect(state.shape == (len(names),), f"{len(names)} names for numbers of shape {state.shape}")
    return listed(names)


def try_rules(env: Any, seed: int, steps: int) -> str:
    """At the goal every rule holds, at no distance."""
    env.reset(seed=seed)
    goal = np.asarray(env.goal)
    at_goal, away = env.task.rules(goal, goal), float(env.task.distance(env.task_state(), goal))
    wrong = [name for name, holds in at_goal.items() if not bool(holds)]
    expect(bool(at_goal), "there is no rule")
    expect(not wrong, f"at the goal itself the rule {wrong[0] if wrong else ''} does not hold")
    distance = float(env.task.distance(goal, goal))
    expect(abs(distance) < 1e-9, f"the distance from the goal to itself is {distance:g}, it must be 0")
    expect(np.isfinite(away) and away >= 0, f"the distance of a start is {away}")
    return f"{', '.join(at_goal)} (the first counts); a start is {away:.2f} away"


def try_success(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    return f"told by the environment, {bool(env.succeeded)} after a reset"


def try_goals(env: Any, seed: int, steps: int) -> str:
    """The same seed gives the same goal, and looking at it moves nothing."""
    env.reset(seed=seed)
    before = env.render()
    goal = check_frame(env.goal_observation()["pixels"])
    expect(goal.shape == before.shape, f"the goal's frame is {goal.shape}, the camera's {before.shape}")
    expect(np.array_equal(env.render(), before), "goal_observation() changes what the camera sees")
    env.reset(seed=seed)
    again = env.goal_observation()["pixels"]
    expect(np.array_equal(goal, again), f"two resets with seed={seed} give different goals")
    if not getattr(env, "sets_goals", True):
        return "any state that is made one (instances=policy or data); its resets set none"
    return f"the same goal twice from seed={seed}"


def try_goal_state(env: Any, seed: int, steps: int) -> str:
    """A state that was reached becomes the goal; physics and camera stay."""
    expect(has(env, "state"), "a goal can be set from a state, but there are no states to read")
    env.reset(seed=seed)
    for action in actions(env, seed, steps):
        env.step_physics(action)
    wanted, seen = np.array(env.get_state()), env.render()
    env.reset(seed=seed + 1)
    present = np.array(env.get_state())
    env.set_goal(wanted)
    expect(np.array_equal(env.get_state(), present), "set_goal() moves the physics")
    if has(env, "goals"):
        expect(np.array_equal(env.goal_observation()["pixels"], seen), "the goal's frame is not that of its state")
    env.reset(seed=seed, options={"state": present, "goal_state": wanted})
    expect(np.array_equal(env.get_state(), present), "reset() ignores the option state")
    return "a state that was reached becomes the goal"


def try_simulator(env: Any, seed: int, steps: int) -> str:
    """Rollouts lead where stepping leads, and leave the present state."""
    env.reset(seed=seed)
    plan = np.stack([actions(env, seed, steps), actions(env, seed + 1, steps)])
    before = np.array(env.get_state()) if has(env, "state") else None
    states = np.asarray(env.simulate(plan))
    if before is not None:
        expect(np.array_equal(env.get_state(), before), "simulate() changes the present state")
    expect(has(env, "task_state"), "it gives task states, but the environment has no task_state()")
    for step, action in enumerate(plan[0]):
        env.step_physics(action)
        off = float(np.abs(states[0, step] - env.task_state()).max())
        expect(off <= 1e-6, f"rollouts are {off:.2g} off what stepping gives at step {step + 1}")
    return f"{states.shape[:2]} states as stepping gives them"


def try_policy(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    policy = env.exploration_policy(np.random.default_rng(seed))
    state = env.task_state() if has(env, "task_state") else np.empty(0)
    action = np.asarray(policy(state))
    expect(action.shape == env.task.action_low.shape, f"it gives actions of shape {action.shape}")
    return "a scripted one"


def try_expert(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    action = np.asarray(env.expert_policy(np.random.default_rng(seed))(env.task_state()))
    expect(action.shape == env.task.action_low.shape, f"it gives actions of shape {action.shape}")
    return "a scripted one"


def try_variation(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed, options={"variation": True})
    factors = dict(env.variation.factors)
    expect(bool(factors), 'reset(options={"variation": True}) varies nothing')
    env.reset(seed=seed)
    expect(not env.variation.factors, "a plain reset() does not make everything nominal again")
    return ", ".join(factors)


def try_factor_choice(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    name = env.variation.names[-1]
    drawn = [env.variation.draw(np.random.default_rng(seed), [name], strength) for strength in (1.0, 0.5)]
    expect(all(list(one) == [name] for one in drawn), f"draw(rng, [{name!r}]) gives {', '.join(drawn[0]) or 'nothing'}")
    expect(not env.variation.factors, "draw() applies what it draws")
    env.reset(seed=seed, options={"variation": drawn[1]})
    expect(list(env.variation.factors) == [name], f'reset(options={{"variation": ...}}) does not set {name} alone')
    env.reset(seed=seed)
    return f"any of {len(env.variation.names)}"


def try_goal_mask(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    mask, size = env.goal_mask(), env.goal_observation()["pixels"].shape[:2]
    given = f"goal_mask() gives {mask.dtype} of shape {mask.shape}"
    expect(mask.shape == size and mask.dtype == bool, f"{given}, it has to give bool of shape {size}")
    expect(mask.any(), "goal_mask() leaves nothing of the goal")
    return f"{100 * mask.mean():.0f} % of the goal image is not the robot"


def try_perturbation(env: Any, seed: int, steps: int) -> str:
    env.reset(seed=seed)
    calm = played(env, seed, steps)
    env.reset(seed=seed)
    env.perturb(0.8, np.random.default_rng(seed))
    frames = frames_from_here(env, seed, steps)
    expect(any((one != other).any() for one, other in zip(calm, frames, strict=False)), "a knock changes no frame")
    return "a knock moves something"


def try_physics_steps(env: Any, seed: int, steps: int) -> str:
    """It can be driven by one physics step."""
    env.reset(seed=seed)
    env.step_substeps(actions(env, seed, 1)[0], 1)
    return f"{env.task.substeps} in a robot step"


ABILITY_TRIALS: dict[str, Trial] = {
    "proprioception": try_proprioception,
    "state": try_state,
    "task_state": try_task_state,
    "rules": try_rules,
    "success": try_success,
    "goals": try_goals,
    "goal_state": try_goal_state,
    "goal_mask": try_goal_mask,
    "simulator": try_simulator,
    "policy": try_policy,
    "expert": try_expert,
    "variation": try_variation,
    "factor_choice": try_factor_choice,
    "perturbation": try_perturbation,
    "physics_steps": try_physics_steps,
}


# ------------------------------------------------------------------ helpers


def listed(names: Sequence[str]) -> str:
    """The names with commas; of many the first and the last."""
    few = list(names) if len(names) <= MOST_NAMES else [*names[: MOST_NAMES - 2], "...", names[-1]]
    return ", ".join(few)


def actions(env: Any, seed: int, steps: int) -> np.ndarray:
    """Uniform actions (steps, A)."""
    low, high = np.asarray(env.task.action_low), np.asarray(env.task.action_high)
    return np.random.default_rng(seed).uniform(low, high, (steps, low.size))


def played(env: Any, seed: int, steps: int) -> list[np.ndarray]:
    """The frames of an episode of random actions, until its end."""
    env.reset(seed=seed)
    return frames_from_here(env, seed, steps)


def frames_from_here(env: Any, seed: int, steps: int) -> list[np.ndarray]:
    """The present frame, and those that random actions lead to."""
    frames = [env.render()]
    for action in actions(env, seed, steps):
        env.step_physics(action)
        frames.append(env.render())
        if getattr(env, "ended", False):
            break
    return frames


def speed(env: Any, seed: int, steps: int) -> str:
    """Milliseconds of a robot step and of a frame, the median of each."""
    env.reset(seed=seed)
    spent: dict[str, list[float]] = {"step": [], "render": []}
    for action in actions(env, seed, steps):
        began = time.perf_counter()
        env.step_physics(action)
        spent["step"].append(time.perf_counter() - began)
        began = time.perf_counter()
        env.render()
        spent["render"].append(time.perf_counter() - began)
        if getattr(env, "ended", False):
            env.reset(seed=seed)
    return ", ".join(f"{1000 * float(np.median(times)):.2f} ms a {name}" for name, times in spent.items())
