"""How low a planner gets in what time: several planners search the same plans of real episodes of Push-T.

    python benchmarks/search_quality.py [--model pusht] [--episodes 12] [--seed 1000] ["planner=NAME ..."]

Settings are those of `wmplan eval`. The first planner's plans are carried out, and at each of them all search with the
same cost function and the same warm start, so that they differ by nothing but the search. It takes hundreds of
episodes to tell two planners apart by success and ten by cost; but a plan that the model takes for better need not be
better. The default compares the real-time preset with many small iterations, the card's planner and the research
preset.

Prints a table: candidates, milliseconds, mean cost, and the geometric mean of the cost over the lowest found by any.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import wmplan
from wmplan.control import PlanningCore, SearchCore, make_controller
from wmplan.control.planning_core import Search
from wmplan.data.registered import make_environment
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.policies import PlannerRow
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.rollout import play
from wmplan.planning.cost import LatentCost
from wmplan.planning.planner import Cost, Plan, Planner
from wmplan.settings.compose import compose

SMALL = "planner=realtime planner.num_samples=32 planner.num_iterations=9 planner.num_elites=4 planner.decay=1"
LONG = "planner=realtime planner.num_samples=64 planner.num_iterations=16 planner.num_elites=6 planner.decay=1"
DEFAULT = ["planner=realtime", SMALL, LONG, "planner=preset", "planner=research"]


@dataclass(frozen=True)
class Found:
    """What one search came to."""

    cost: float
    ms: float
    candidates: int


class Contest(SearchCore):
    """Plans as a core does, and has other planners search the same.

    Attributes:
        found: for each plan what each planner found, the core's own first.
    """

    def __init__(self, core: SearchCore, others: Sequence[Planner]) -> None:
        super().__init__(core.model, core.planner, core.objective, core.schedule)
        self.others = others
        self.found: list[list[Found]] = []

    def search(self, cost: LatentCost, **options: Any) -> Search:
        """As the core's."""
        warm, seed = self.planner.warm_start, len(self.found)
        plan, own = timed(self.planner, cost, options)
        self.found.append([own])
        for planner in self.others:
            planner.reset([seed])
            planner.warm_start = warm
            others = {**options, "generators": planner.generators}
            self.found[-1].append(timed(planner, cost, others)[1])
        return Search(cost, plan)


def timed(planner: Planner, cost: Cost, options: dict[str, Any]) -> tuple[Plan, Found]:
    """A plan, and what there is to say of it."""
    begun = time.perf_counter()
    plan = planner.plan(cost, **options, record=True)
    spent = 1e3 * (time.perf_counter() - begun)
    return plan, Found(float(plan.cost[0]), spent, sum(c.shape[1] for c in plan.diagnostics["candidate_costs"]))


def searching(core: PlanningCore) -> SearchCore:
    """The core, which has to be one that searches."""
    if not isinstance(core, SearchCore):
        raise SystemExit(f"{type(core).__name__} does not search")
    return core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", default=DEFAULT)
    parser.add_argument("--model", default="pusht")
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1000, help="of the instances; not the one success is reported on")
    options = parser.parse_args()

    model = wmplan.load(options.model)
    controllers = [
        make_controller(model, compose("eval", words.split())["planner"] or None) for words in options.settings
    ]
    controller = controllers[0]
    controller.core = contest = Contest(searching(controller.core), [other.planner for other in controllers[1:]])
    env, protocol = make_environment(model.card["task"], {}), Protocol()
    row = PlannerRow(controller, protocol)
    for number, instance in enumerate(generate_instances(env, protocol, options.episodes, options.seed)):
        play(env, instance, row, number, protocol.steps)

    costs = np.array([[found.cost for found in row] for row in contest.found])  # (plans, planners)
    print(
        f"{len(costs)} plans of {options.episodes} episodes, seed {options.seed}, {torch.get_num_threads()} thread(s)\n"
    )
    print("| planner | candidates | ms, median | mean cost | over the lowest, geometric mean |")
    print("|---|---|---|---|---|")
    over = np.exp(np.log(costs / costs.min(1, keepdims=True)).mean(0))
    for index, words in enumerate(options.settings):
        results = [row[index] for row in contest.found]
        candidates = statistics.median(found.candidates for found in results)
        ms = statistics.median(found.ms for found in results)
        print(f"| {words} | {candidates:.0f} | {ms:.0f} | {costs[:, index].mean():.3f} | {over[index]:.2f} |")


if __name__ == "__main__":
    main()
