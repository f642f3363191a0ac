"""Policies of stable-worldmodel in its own World, on the instances that models of ours are measured on.

    import stable_worldmodel as swm
    from wmplan.suite.world import play_in_world

    policy = swm.policy.WorldModelPolicy(...)  # any of its policies
    play_in_world(policy, "results/tworoom", "results/theirs", name="LeWM")

It runs where stable-worldmodel is installed whole. The result folder is as `wmplan eval` writes one: `wmplan compare
results/tworoom results/theirs` takes both.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from wmplan.data.registered import make_environment
from wmplan.errors import NotPossibleError, UserError
from wmplan.evaluation.instances import Instance, load_instances
from wmplan.evaluation.journal import Record
from wmplan.evaluation.machine import date, machine, versions
from wmplan.evaluation.results import assemble, load_results, write_results
from wmplan.evaluation.rollout import distances
from wmplan.evaluation.success import judge_states
from wmplan.output_folder import check_folder, make_folder

PICTURE = 224  # pixels a side, as the suite's models take them
POOL = 25  # instances that are played at once
CALLS = [
    {"method": "_set_state", "args": {"state": {"value": "state"}}},
    {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_state"}}},
]
"""What World does with the states of an instance, in its own words."""


def play_in_world(
    policy: Any, instances: str | Path, out: str | Path, *, name: str, pool: int = POOL
) -> dict[str, Any]:
    """Let stable-worldmodel's World play a policy of its own, and write the results as those of the row "planner".

    Success is what World counts: its environment's own flag at any time, where an episode ends. Physics are the
    suite's, from a space that goes on; ours begins a new one with every robot step.

    Args:
        policy: with stable-worldmodel's get_action(infos) and set_env(envs).
        instances: result folder of an evaluation of ours, whose instances, protocol and budget are taken.
        out: folder for results.json; it must not hold another run.
        name: of the policy or its model, for tables.
        pool: instances that are played at once.

    Returns:
        The content of results.json.

    Raises:
        NotPossibleError: if stable-worldmodel is not there whole.
        UserError: if `instances` holds no evaluation of one of its tasks, or `out` something else.
    """
    swm = _stable_worldmodel()
    theirs = load_results(Path(instances))
    env: Any = make_environment(theirs["task"], {"image_size": PICTURE})
    if not hasattr(env, "world_state"):
        raise UserError(f"{instances} is of {theirs['task']}, which is no task of stable-worldmodel")
    folder = check_folder(out, "results", ["results.json"], ["results.json"])
    given, budget = load_instances(Path(instances) / "instances.json"), int(theirs["protocol"]["budget"])
    records: list[Record] = []
    with tqdm(total=len(given), unit="episode", disable=None) as bar:
        for begin in range(0, len(given), pool):
            part = given[begin : begin + pool]
            world = swm.World(
                env.world_id, num_envs=len(part), image_shape=(PICTURE, PICTURE), max_episode_steps=2 * budget
            )
            watched = WatchedPolicy(policy)
            world.set_policy(watched)
            found = world.evaluate(
                dataset=InstanceData(env, part),
                episodes_idx=list(range(len(part))),
                start_steps=[0] * len(part),
                goal_offset=1,
                eval_budget=budget,
                callables=CALLS,
            )
            watched.see(world.infos)
            world.close()
            for one, success, states in zip(part, found["episode_successes"], watched.states(), strict=True):
                records.append(_record(env, one, bool(success), states, theirs["protocol"]["rule"]))
            bar.update(len(part))
    played_with = versions(env.packages)
    env.close()
    head = {key: theirs[key] for key in ("schema", "task", "protocol", "episodes", "seed", "instances_sha256")}
    head |= {"model": {"name": name}, "planner": {"name": type(policy).__name__, "seeds": 1}, "settings": {}}
    head |= {"date": date(), "machine": machine(1), "versions": played_with}
    result = assemble(head, ["planner"], {}, records, budget)
    make_folder(folder)
    write_results(folder / "results.json", result)
    return result


class InstanceData:
    """Instances as a data set that World.evaluate takes: each an episode of two rows, its start and its goal.

    Args:
        env: of the task; it draws them.
        instances: in order.
    """

    column_names = ("pixels", "state", "proprio")

    def __init__(self, env: Any, instances: Sequence[Instance]) -> None:
        self.env, self.instances = env, instances

    def load_chunk(
        self, episodes: NDArray[np.int_], starts: NDArray[np.int_], ends: NDArray[np.int_]
    ) -> list[dict[str, Tensor]]:
        """Rows of episodes: `pixels` (2, 3, H, W), `state` (2, D) and `proprio` (2, P)."""
        return [self._episode(self.instances[int(index)]) for index in episodes]

    def _episode(self, instance: Instance) -> dict[str, Tensor]:
        pictures, states = [], []
        for state in (instance.state, instance.goal_state):
            self.env.set_state(np.asarray(state))
            pictures.append(self.env.render((PICTURE, PICTURE)))
            states.append(self.env.world_state())
        held = torch.from_numpy(np.stack(states))
        proprio = held if held.shape[1] == 2 else torch.cat([held[:, :2], held[:, -2:]], 1)
        return {"pixels": torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), "state": held, "proprio": proprio}


class WatchedPolicy:
    """A policy whose World's states are kept, one a robot step.

    Args:
        policy: that acts.
    """

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self._seen: list[NDArray[np.float64]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def get_action(self, infos: Mapping[str, Any], **options: Any) -> Any:
        """What the policy does."""
        self.see(infos)
        return self.policy.get_action(infos, **options)

    def see(self, infos: Mapping[str, Any]) -> None:
        """Keep the states of World's infos, (n, 1, D)."""
        self._seen.append(np.array(infos["state"], np.float64)[:, -1])

    def states(self) -> NDArray[np.float64]:
        """Of each environment (n, T + 1, D)."""
        return np.stack(self._seen, axis=1)


def _record(env: Any, instance: Instance, success: bool, states: NDArray[np.float64], decided_by: str) -> Record:
    """The entry of an episode: World's success by the rule that counts, ours by the others."""
    env.set_state(np.asarray(instance.goal_state))
    goal, path = env.task_state(), env.from_world(states)
    rules = judge_states(env, path, goal)
    step = rules[decided_by]["success_step"] if success else None
    counted = {"success": success, "success_step": step, "success_at_end": success}
    return {
        **{"instance": instance.instance, "row": "planner", "planner_seed": 0},
        **counted,
        "rules": rules | {decided_by: counted},
        **distances(env.task.distance(path, goal)),
        "plan_ms": [],
        "env_steps": len(path) - 1,
        **({"solved": True} if instance.solved else {}),
    }


def _stable_worldmodel() -> Any:
    try:
        return importlib.import_module("stable_worldmodel")
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch fails in its own ways
        raise NotPossibleError(
            f"stable-worldmodel cannot be imported whole ({error}): its World needs a torchvision that fits torch, pip "
            'install "stable-worldmodel>=0.1.1" torchvision, in an environment of its own'
        ) from error
