"""Why episodes of a result folder failed: the encoder, the predictor, the objective or the search.

Failed episodes are played again, every candidate of every search is kept, and the true simulator says what would have
come of them. A probe, trained on fresh episodes of the collection policy with their true states, reads the task's state
off latents. The rules of the verdict stand in wmplan.diagnosis.attribution.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.atomic_io import write_json
from wmplan.diagnosis.attribution import regret_by_part, verdict
from wmplan.diagnosis.plan_distance import ProbeDistance, steps_of
from wmplan.diagnosis.probe_data import collect_probe_data
from wmplan.diagnosis.replan_analysis import Effort, Recorder, Replan, ReplanExaminer
from wmplan.diagnosis.summary import summarise, table
from wmplan.environment import PlanningEnvironment, require
from wmplan.environment_uses import USES
from wmplan.errors import UserError
from wmplan.evaluation.instances import Instance, digest, load_instances
from wmplan.evaluation.policies import PlannerRow
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.results import load_results
from wmplan.evaluation.rollout import Arrays, judge, load_episode, observations, play, restore
from wmplan.evaluation.worker import Setup, Unit, Worker, load_model, unit_seed
from wmplan.interruption import Interrupted
from wmplan.models.base import WorldModel
from wmplan.models.loading import sha256
from wmplan.models.state_probe import StateProbe, state_errors
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import MAX_SEED, whole_number

Episode = dict[str, Any]
QUICKER = "max_instances=3 successes=1 probe_episodes=50 oracle=never make it quick"


@dataclass(frozen=True)
class DiagnoseConfig:
    """How much to look at.

    Attributes:
        max_instances: failed episodes at most.
        successes: succeeded episodes at most, for contrast.
        rule: success rule to ask about; None for the one that decided.
        probe_episodes: fresh episodes of the collection policy that the probes are fitted on.
        oracle: play with the true simulator and distance "never", for the failures where the verdict "needed" it,
            or for "all"; episodes that the result has an oracle row for are not played again.
        seed: of the probes, their episodes and the choice of candidates.
        effort: how closely each replan is looked at.
    """

    max_instances: int = 20
    successes: int = 5
    rule: str | None = None
    probe_episodes: int = 150
    oracle: str = "needed"
    seed: int = 0
    effort: Effort = field(default_factory=Effort)

    def __post_init__(self) -> None:
        convert_fields(self)
        for name, least in (("max_instances", 1), ("successes", 0), ("probe_episodes", 10)):
            whole_number(getattr(self, name), name, least)
        whole_number(self.seed, "seed", 0, MAX_SEED)
        if self.oracle not in ("never", "needed", "all"):
            raise UserError(f"oracle must be never, needed or all, got {self.oracle!r}")


def diagnose(
    folder: str | Path, config: DiagnoseConfig | None = None, *, model: WorldModel | None = None
) -> dict[str, Any]:
    """Find out why episodes failed; prints a table and writes diagnosis.json.

    Args:
        folder: of a finished evaluation with the row planner.
        config: how much to look at.
        model: the model that was evaluated, where it was given as an object and not by a name.

    Returns:
        The content of diagnosis.json.

    Raises:
        UserError: if the folder holds no such evaluation, or the model is not the one that was evaluated.
        Interrupted: after Ctrl-C, with nothing kept.
    """
    config, folder = config or DiagnoseConfig(), Path(folder)
    results = load_results(folder)
    setup = evaluated_setup(results, folder, model)
    rule = decided_by(results, config)
    chosen = chosen_records(results, rule, config)
    loaded = load_model(setup)
    assert loaded is not None
    threads = torch.get_num_threads()
    worker = Worker(setup, evaluated_instances(results, folder))
    torch.set_num_threads(threads)  # a worker takes one of many; here it is alone
    try:
        diagnosis = Diagnostician(results, setup, worker, loaded, config, rule).run(chosen)
    except KeyboardInterrupt as stop:
        number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
        raise Interrupted(f"nothing is kept, the same command begins anew; {QUICKER}", number) from None
    finally:
        worker.close()
    write_json(folder / "diagnosis.json", diagnosis, indent=1)
    print(table(diagnosis))
    return diagnosis


def evaluated_setup(results: Mapping[str, Any], folder: Path, model: WorldModel | None = None) -> Setup:
    """What the episodes of a result were played with.

    Raises:
        UserError: if the result has no row planner, or the model cannot be had as it was.
    """
    if "planner" not in results["rows"]:
        raise UserError(f"{folder} has no row planner: there is nothing to diagnose")
    settings = results["settings"]
    given = settings["model"] if model is None else model
    if given is None:
        raise UserError(f"{folder} was evaluated with a model that has no name: give it to diagnose(model=...)")
    if model is None and sha256(str(given)) != results["model"]["sha256"]:
        raise UserError(f"model {given} has changed since {folder} was evaluated: evaluate again, then diagnose")
    protocol = Protocol.of_results(results)
    names = ("task", "environment", "device", "planner", "objective", "schedule", "action_block")
    own = {name: settings[name] for name in names}
    dtype = settings.get("dtype", "float32")
    return Setup(**own, model=given, protocol=protocol, seed=results["seed"], folder=folder, dtype=dtype)


def evaluated_instances(results: Mapping[str, Any], folder: Path) -> list[Instance]:
    """The instances that a result is of; a longer evaluation of the same folder may have begun since.

    Raises:
        UserError: if instances.json is missing, damaged or of another evaluation.
    """
    path = folder / "instances.json"
    instances = load_instances(path)[: results["episodes"]]
    if digest(instances) != results["instances_sha256"]:
        raise UserError(f"{path} does not hold the instances that results.json was made with: evaluate again")
    return instances


def decided_by(results: Mapping[str, Any], config: DiagnoseConfig) -> str:
    """The rule to ask about.

    Raises:
        UserError: if the episodes were not judged by it.
    """
    rules = list(results["per_episode"][0]["rules"])
    return Protocol(rule=config.rule or results["protocol"]["rule"]).decided_by(rules)


def chosen_records(results: Mapping[str, Any], rule: str, config: DiagnoseConfig) -> list[Mapping[str, Any]]:
    """Records of the episodes to look at: failures first, each in the order of stream and instance.

    Raises:
        UserError: if there is none.
    """
    records = [one for one in results["per_episode"] if one["row"] == "planner"]
    failed = [one for one in records if not one["rules"][rule]["success"]]
    succeeded = [one for one in records if one["rules"][rule]["success"]]
    if not failed:
        others = [name for name in records[0]["rules"] if not all(one["rules"][name]["success"] for one in records)]
        other = f" or ask about a rule that some failed by: rule={', rule='.join(others)}" if others else ""
        advice = f"for failures, evaluate more episodes{other}"
        if not config.successes:
            raise UserError(f"no episode failed by the rule {rule!r}, and successes is 0: {advice}")
        print(f"no episode failed by the rule {rule!r}, only successes are looked at: {advice}", file=sys.stderr)
    return [*failed[: config.max_instances], *succeeded[: config.successes]]


class Diagnostician:
    """Diagnoses the episodes of one evaluation.

    Args:
        results: content of results.json.
        setup: what they were played with.
        worker: what plays them again.
        model: the world model of the setup.
        config: how much to look at.
        rule: that decides what is a failure.
    """

    def __init__(
        self,
        results: Mapping[str, Any],
        setup: Setup,
        worker: Worker,
        model: WorldModel,
        config: DiagnoseConfig,
        rule: str,
    ) -> None:
        self.results, self.setup, self.worker, self.model, self.config = results, setup, worker, model, config
        self.env: PlanningEnvironment = worker.env
        require(self.env, "a diagnosis", *USES["diagnose"])
        self.rule = rule
        self.steps = steps_of(setup.objective)
        self.proprio = bool(model.spec.proprio_dim) and setup.protocol.proprio

    def run(self, chosen: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Fit the probes, look at the episodes of these records, give the content of diagnosis.json."""
        config, names = self.config, self.env.task.state_names
        data = collect_probe_data(self.env, self.model, config.probe_episodes, config.seed, proprio=self.proprio)
        probes = {
            kind: StateProbe(data.latents, data.states, names, kind, seed=config.seed) for kind in ("ridge", "mlp")
        }
        self.measure = ProbeDistance(probes["mlp"], self.env.task, self.steps)
        self.recorded, self.swapped = self.player(), self.player()
        self.recorder = Recorder(self.recorded.controller)
        self.swapped.controller.objective = self.measure
        self.examine = ReplanExaminer(self.env, self.measure, config.effort, self.proprio, config.seed)
        episodes, replans = [], []
        with tqdm(total=len(chosen), desc="diagnose", unit="episode", disable=None) as bar:
            for record in chosen:
                episode, own = self.diagnose_episode(record, bar.set_postfix_str)
                episodes.append(episode)
                replans.append(own)
                bar.update()
        return {
            "schema": 1,
            "model": self.results["model"],
            "task": self.setup.task,
            "rule": self.rule,
            "settings": {**asdict(config), "steps": self.steps},
            "state_names": list(names),
            "probe": {kind: data.errors(probe, self.env.task) for kind, probe in probes.items()},
            **summarise(episodes, replans, names),
            "episodes": episodes,
        }

    def player(self) -> PlannerRow:
        """A player with a controller of its own."""
        row = self.worker.make_row("planner")
        assert isinstance(row, PlannerRow)
        return row

    def diagnose_episode(self, record: Mapping[str, Any], tell: Callable[[str], None]) -> tuple[Episode, list[Replan]]:
        """Play an episode again, examine its replans, and play it with parts replaced; `tell` is told what is done."""
        tell("as it was played")
        instance = self.worker.instances[record["instance"]]
        unit = Unit("planner", record["planner_seed"], record["instance"])
        seed, budget = unit_seed(self.setup.seed, unit), self.setup.protocol.steps
        self.recorder.clear()
        episode = play(self.env, instance, self.recorded, seed, budget)
        self.check_same(record, episode)
        replans: list[Replan] = []
        for step, (cost, plan) in zip(episode["plan_step"], self.recorder.searches, strict=True):
            tell(f"plan {len(replans) + 1} of {len(episode['plan_step'])}")
            restore(self.env, episode, int(step))
            replans.append(self.examine(cost, plan, int(step)))
        frame_errors, goal_read = self.encoder_errors(episode)
        closest = episode["states"][int(episode["distance"].argmin())]
        failed = not record["rules"][self.rule]["success"]
        tell("with the probe's distance")
        probe = judge(self.env, play(self.env, instance, self.swapped, seed, budget), self.rule)
        tell("with the true simulator")
        oracle = self.oracle(record, needed=failed and not probe["success"])
        pairs = [one.pair for one in replans]
        encoder_error = float(np.median(frame_errors))
        predictor_error = float(np.median([one.predictor_error[-1] for one in replans]))
        names = ("instance", "planner_seed", "start_distance", "min_distance", "final_distance")
        entry: Episode = {
            **{name: record[name] for name in names},
            "success": not failed,
            "goal_error": float(self.env.task.distance(goal_read, episode["goal"])),
            "goal_parts": self.parts(goal_read, episode["goal"]),
            "closest_parts": self.parts(closest, episode["goal"]),
            "encoder_error": encoder_error,
            "predictor_error": predictor_error,
            "rank_first": mean(one.correlations()["cost"][0] for one in replans),
            "rank_last": mean(one.correlations()["cost"][-1] for one in replans),
            "rank_true_latents": mean(one.correlations()["cost_of_true_latents"] for one in replans),
            "regret": mean(one.pair.regret for one in replans),
            "regret_by_part": regret_by_part(pairs),
            "with_probe": {name: probe[name] for name in ("success", "min_distance", "final_distance")},
            "with_oracle": oracle,
        }
        entry["verdict"] = None
        if failed:
            entry["verdict"] = verdict(
                pairs,
                probe_succeeds=probe["success"],
                oracle_helps=None if oracle is None else helps(oracle, record),
                encoder_error=encoder_error,
                predictor_error=predictor_error,
            )
        return entry, replans

    def check_same(self, record: Mapping[str, Any], episode: Arrays) -> None:
        """Say so where the episode did not come out as it was recorded (another machine, other versions)."""
        path = self.setup.folder / record["file"]
        if path.exists() and not np.array_equal(load_episode(path)["actions"], episode["actions"]):
            again = "succeeded" if judge(self.env, episode, self.rule)["success"] else "failed"
            print(f"instance {record['instance']} did not play as recorded (now it {again})", file=sys.stderr)

    @torch.inference_mode()
    def encoder_errors(self, episode: Arrays) -> tuple[list[float], NDArray[np.float64]]:
        """Task's distances between true states and those read off their frames; and the goal as read off its latent."""
        seen = {name: torch.from_numpy(rows)[None] for name, rows in observations(self.env, episode).items()}
        device = self.model.device
        own = seen["proprio"].to(device) if self.proprio else None
        latents = self.model.encode(seen["pixels"].to(device), own)[0]
        goal = self.recorder.searches[-1][0].goal
        read = self.measure.probe(torch.cat([latents, goal])).double().cpu().numpy()
        return np.asarray(self.env.task.distance(read[:-1], episode["states"])).tolist(), read[-1]

    def parts(self, state: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, float]:
        """How far apart two states (D,) are, by entry."""
        names = self.env.task.state_names
        return dict(zip(names, state_errors(state, other, names).tolist(), strict=True))

    def oracle(self, record: Mapping[str, Any], needed: bool) -> dict[str, Any] | None:
        """What the same search reaches with the true simulator and distance: as recorded, or played now."""
        names = ("success", "min_distance", "final_distance")
        for one in self.results["per_episode"]:
            if one["row"] == "oracle" and one["instance"] == record["instance"]:
                return {**{name: one[name] for name in names}, "success": one["rules"][self.rule]["success"]}
        if self.config.oracle == "never" or (self.config.oracle == "needed" and not needed):
            return None
        unit = Unit("oracle", record["planner_seed"], record["instance"])
        row, instance = self.worker.make_row("oracle"), self.worker.instances[record["instance"]]
        episode = play(self.env, instance, row, unit_seed(self.setup.seed, unit), self.setup.protocol.steps)
        judged = judge(self.env, episode, self.rule)
        return {name: judged[name] for name in names}


def helps(oracle: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Whether an episode played with the true simulator succeeds, or comes to half the distance of the recorded one."""
    return bool(oracle["success"] or oracle["min_distance"] <= 0.5 * record["min_distance"])


def mean(values: Any) -> float | None:
    """Mean of the numbers that are not NaN, None if there is none."""
    kept = [float(value) for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else None
