"""Success of a planner with a world model on held-out instances, with baselines, intervals and what explains failures.

`evaluate(...)` runs it and returns the result it writes. A result folder DIR holds:

results.json
    DESIGN's schema 1, and in it besides:
    `planner`: {"name", every setting of the planner, "objective": {...}, "replan_every", "arrival_step",
    "min_horizon", "seeds": number of random streams}; `settings`: {"task": Gymnasium id, "environment": {...},
    "model": name or path given, ...}, what it takes to make the same environment and controller again.
    rows[name]: {"episodes": instances, "streams": [{"planner_seed", "success", "success_ci95", "success_at_end"}],
    "success", "success_ci95", "effective_n", "success_at_end", "success_at_end_ci95", "gap_closed", "min_distance",
    "final_distance", "plan_ms": {"p50", "p95", "p99"} (null where a row plans nothing), "env_steps",
    "rules": {rule: {"success", "success_ci95", "success_at_end", "success_by": {robot steps: share that succeeded
    within them}, "median_steps" (of the successes, null without any)}}, "without_solved": all of this without the
    instances that doing nothing solves, where the protocol keeps such (null: none is left)}. Episodes of one instance
    under several streams are not independent, so the interval of a row is Wilson's at the effective number of episodes.
    per_episode: [{"instance", "row", "planner_seed", "success", "success_step" (robot steps, null: never),
    "success_at_end", "rules": {rule: {"success", "success_step", "success_at_end"}}, "start_distance",
    "min_distance", "final_distance", "gap_closed", "plan_ms": [one number a plan], "env_steps", "solved": true (only
    where doing nothing solves the instance), "file": "episodes/....npz"}], sorted by row, planner_seed, instance.
    Distances are the task's own (about 1 where the first rule begins to hold).

instances.json
    {"schema": 1, "task": Gymnasium id, "seed", "offset", "budget", "sha256", "instances": [{"instance", "episode",
    "step" (of the episode, where the instance starts), "state" (N,), "goal_state" (N,) full simulator states,
    "actions" (offset, a) that the collection policy took between them, "start_distance"}]}. Numbers of states that are
    not finite are "inf", "-inf" and "nan". Read it with `load_instances`.

episodes/<row>-<planner_seed>-<instance, 4 digits>.npz
    One played episode of T robot steps. Read it with `load_episode(path) -> dict of arrays`:
    `states` (T+1, D) task states, `goal` (D,) the goal's, `physics` (T+1, N) full simulator states and
    `goal_physics` (N,), `actions` (T, a) as executed, `distance` (T+1,) to the goal, `plan_step` (P,) robot steps at
    which a plan was made, `plan_cost` (P,) of the chosen plan, `plan_ms` (P,) from frame to action,
    `plan_horizon` (P,) model steps, `plans` (P, H, A) chosen plans, NaN beyond their horizon. P is 0 for rows that do
    not plan. With a variation there is `variation.NAME` for every factor. Frames are not stored, since the states
    draw them again at any size (H, W): `draw_frames(environment, episode, size) -> (T+1, H, W, 3)` and
    `draw_goal(environment, episode, size) -> (H, W, 3)`, `environment` being
    `make_environment(results["settings"]["task"], results["settings"]["environment"])`.

per_episode.jsonl
    The journal: settings on the first line, then one line an episode as it is finished. A run that was killed goes on
    from it.
"""

from wmplan.data.registered import make_environment
from wmplan.evaluation.comparison import compare
from wmplan.evaluation.evaluate import evaluate
from wmplan.evaluation.instances import Instance, generate_instances, load_instances
from wmplan.evaluation.intervals import percentiles, wilson
from wmplan.evaluation.paired import mcnemar
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.results import load_results
from wmplan.evaluation.rollout import draw_frames, draw_goal, load_episode, restore

__all__ = [
    "Instance",
    "Protocol",
    "compare",
    "draw_frames",
    "draw_goal",
    "evaluate",
    "generate_instances",
    "load_episode",
    "load_instances",
    "load_results",
    "make_environment",
    "mcnemar",
    "percentiles",
    "restore",
    "wilson",
]
