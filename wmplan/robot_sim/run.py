"""What `wmplan robot` runs: episodes on held-out instances in real time, a film, a table and results.json."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from wmplan.atomic_io import write_json
from wmplan.control.safety.limits import Limits
from wmplan.counted import counted
from wmplan.data.registered import make_environment
from wmplan.environment import RobotEnvironment, has, require
from wmplan.environment_uses import USES
from wmplan.errors import UserError
from wmplan.evaluation.fit import require_fit
from wmplan.evaluation.instances import Instance, digest, generate_instances
from wmplan.evaluation.intervals import percentiles, wilson
from wmplan.evaluation.machine import machine, versions
from wmplan.evaluation.policies import shown_goal
from wmplan.evaluation.rollout import distances
from wmplan.evaluation.success import judge_states, rule_names
from wmplan.evaluation.worker import Unit, unit_seed
from wmplan.output_folder import check_folder, make_folder
from wmplan.random_streams import Stream, stream_rng
from wmplan.report.videos import write_mp4
from wmplan.robot_sim.body import Body
from wmplan.robot_sim.camera import Camera
from wmplan.robot_sim.config import RobotConfig
from wmplan.robot_sim.episode import Episode, run_episode
from wmplan.robot_sim.faults import KINDS, Fault, FaultSchedule, random_faults
from wmplan.robot_sim.film import draw_shot, world_size
from wmplan.robot_sim.planner_link import PlannerLink, check_served, connect, local, served, simulated
from wmplan.settings.difference import difference
from wmplan.text_table import table

NEEDS = {"knock": "perturbation", "camera_bumped": "variation"}  # abilities that faults need


def run_robot(config: RobotConfig) -> dict[str, Any]:
    """Run the episodes, write results.json and the films, and return the content of results.json.

    Raises:
        UserError: naming the setting that is wrong, the server that does not answer, or a folder with other results.
    """
    check_results_folder(config)
    env, link = open_robot(config)
    try:
        return run_episodes(config, env, link)
    finally:
        link.close()
        env.close()


def check_results_folder(config: RobotConfig) -> None:
    """Check the folder for the results; where it holds those of another run of the robot, that is said.

    Raises:
        UserError: if it holds other results.
    """
    folder = Path(config.out)
    try:
        before = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if isinstance(before, dict) and "loop" in before:
        if other := difference(before["settings"], settings_of(config), ignore=["out"]):
            print(f"{folder} held the results of {other}: they are replaced", file=sys.stderr)
    else:
        check_folder(folder, "a run of the robot", [], ["results.json"])


def open_robot(config: RobotConfig) -> tuple[RobotEnvironment, PlannerLink]:
    """The environment with frames as the model wants them, and what drives it."""
    if config.url is not None:
        client, wire = connect(config)
        try:
            env = make_robot_environment(config.task, {"image_size": list(client.metadata["image_size"])})
            check_served(client.metadata, env)
            return env, served(config, client, wire, limits_of(config, env), env.control_rate)
        except BaseException:
            client.close()
            if wire is not None:
                wire.close()
            raise
    import torch

    from wmplan.control.session import PlanningSession
    from wmplan.models import load
    from wmplan.models.precision import log, take_dtype

    torch.set_num_threads(1)  # the robot's own thread needs a core
    model = load(config.model, config.device)
    computes = take_dtype(model, config.dtype)
    env = make_robot_environment(config.task, {"image_size": list(model.spec.image_size)})
    require_fit(model, config.model, env, config.task)
    session = PlanningSession(model, config.planner or None, config.objective or None, config.schedule or None)
    make = simulated if config.clock == "simulated" else local
    link = make(config, session, config.model, limits_of(config, env), env.control_rate)
    log.info("planning in %s", computes)
    return env, link


def make_robot_environment(task: str, options: dict[str, Any]) -> RobotEnvironment:
    """The environment of a Gymnasium id, if it can be driven in real time.

    Raises:
        UserError: if there is no such task, or it lacks what that takes.
    """
    env = make_environment(task, options)
    try:
        require(env, f"a run of {task!r} in real time", *USES["robot"])
    except UserError:
        env.close()
        raise
    return cast(RobotEnvironment, env)


def limits_of(config: RobotConfig, env: RobotEnvironment) -> Limits:
    """The task's bounds, with the limits that were asked for."""
    low, high = (tuple(map(float, bound)) for bound in (env.task.action_low, env.task.action_high))
    return Limits(low, high, **asdict(config.limits))


def run_episodes(config: RobotConfig, env: RobotEnvironment, link: PlannerLink) -> dict[str, Any]:
    """Run the episodes with what open_robot() gave."""
    make_folder(Path(config.out))
    rules = rule_names(env)
    decided_by = config.protocol.decided_by(rules)
    instances = generate_instances(env, config.protocol, config.episodes, config.seed)
    records, episodes = [], []
    for instance in tqdm(instances, unit="episode", disable=None, leave=False):
        faults = faults_of(config, instance.instance, env)
        filmed = instance.instance < config.films
        episode, dropped = play(config, env, link, instance, faults, filmed)
        record = judge(env, episode, decided_by, instance, faults, dropped)
        if filmed:
            name = f"episode-{instance.instance:04d}.mp4"
            film(env, episode, instance, Path(config.out) / name, len(instances))
            record["film"] = name
            episode.shots.clear()
        records.append(record)
        episodes.append(episode)
    result = {
        "schema": 1,
        "task": config.task,
        "planner": link.name,
        "protocol": config.protocol.as_dict(rules),
        "episodes": config.episodes,
        "seed": config.seed,
        "instances_sha256": digest(instances),
        "settings": settings_of(config),
        "machine": machine(1),
        "versions": versions(),
        **summary(records, episodes, rules, decided_by),
        "statistics": link.controller.statistics.as_dict(),
        "per_episode": records,
    }
    write_json(Path(config.out) / "results.json", result)
    return result


def faults_of(config: RobotConfig, instance: int, env: RobotEnvironment) -> list[Fault]:
    """The faults of one episode.

    Raises:
        UserError: if one was asked for that the environment cannot have.
    """
    impossible = {kind for kind, ability in NEEDS.items() if not has(env, ability)}
    for kind in [*(fault.kind for fault in config.faults.given), *(config.faults.kinds or ())]:
        if kind in impossible:
            require(env, f"the fault {kind}", NEEDS[kind])
    rng = stream_rng(config.faults.seed, Stream.ROBOT_FAULTS, instance)
    kinds = config.faults.kinds or tuple(kind for kind in KINDS if kind not in impossible)
    drawn = random_faults(rng, config.faults.random, seconds_of(config, env), len(env.task.action_low), kinds)
    return [*config.faults.given, *drawn]


def seconds_of(config: RobotConfig, env: RobotEnvironment) -> float:
    """Length of an episode."""
    return config.seconds if config.seconds is not None else config.protocol.steps / env.control_rate


def play(
    config: RobotConfig,
    env: RobotEnvironment,
    link: PlannerLink,
    instance: Instance,
    faults: Sequence[Fault],
    filmed: bool = False,
) -> tuple[Episode, int]:
    """One episode, and the number of frames that were dropped."""
    schedule = FaultSchedule(faults)
    link.rest()
    instance.start(env)
    seed = unit_seed(config.seed, Unit("planner", 0, instance.instance))
    link.controller.reset(shown_goal(env, config.protocol), seed=seed, at_rest=True)
    body = Body(
        env,
        1 / config.rate,
        config.ramp_ms / 1000,
        schedule,
        stream_rng(config.seed, Stream.ROBOT_BODY, instance.instance),
    )
    camera = Camera(env, config.camera, schedule, stream_rng(config.seed, Stream.ROBOT_CAMERA, instance.instance))
    episode = run_episode(
        env,
        link.controller,
        camera,
        body,
        link.clock,
        schedule,
        rate=config.rate,
        seconds=seconds_of(config, env),
        started=partial(link.begin, schedule),
        figures=partial(figures_of, link.controller) if filmed else None,
    )
    link.rest()
    return episode, camera.dropped


def figures_of(controller: Any) -> dict[str, str]:
    """What the film tells of the loop."""
    numbers = controller.statistics.as_dict()

    def milliseconds(name: str, part: str) -> str:
        value = numbers[name][part]
        return "-" if value is None else f"{1000 * value:.0f} ms"

    seam, surprise = numbers["seam"]["p95"], numbers["surprise"]["mean"]
    return {
        "rate": "-" if numbers["control_rate"] is None else f"{numbers['control_rate']:.1f} Hz",
        "plan p50": milliseconds("plan_seconds", "p50"),
        "plan p99": milliseconds("plan_seconds", "p99"),
        "age p95": milliseconds("age_seconds", "p95"),
        "missed": f"{100 * numbers['missed_deadlines']:.1f} %",
        "seam p95": "-" if seam is None else f"{100 * seam:.0f} %",
        "rejected": str(sum(numbers["rejected"].values())),
        "errors": str(sum(numbers["errors"].values())),
        "surprise": "-" if surprise is None else f"{surprise:.1f}",
    }


def judge(
    env: RobotEnvironment,
    episode: Episode,
    decided_by: str,
    instance: Instance,
    faults: Sequence[Fault],
    dropped: int,
) -> dict[str, Any]:
    """The entry of an episode in per_episode: success as `wmplan eval` judges it, and how the loop did."""
    states = np.stack(episode.states)
    succeeded = np.array(episode.succeeded) if episode.succeeded else None
    rules = judge_states(env, states, episode.goal, succeeded)
    measured = distances(np.asarray(env.task.distance(states, episode.goal)))
    return {
        "instance": instance.instance,
        **rules[decided_by],
        "rules": rules,
        **{name: measured[name] for name in ("start_distance", "min_distance", "final_distance")},
        "faults": [asdict(fault) for fault in faults],
        "control_rate": episode.rate(),
        "ticks": len(episode.ticks),
        "out_of_limits": episode.out_of_limits,
        "frames_dropped": dropped,
        "states": episode.time_in(),
        "changes": [[round(at, 3), mode] for at, mode in episode.changes()],
    }


def summary(
    records: Sequence[dict[str, Any]], episodes: Sequence[Episode], rules: Sequence[str], decided_by: str
) -> dict[str, Any]:
    """All episodes together."""
    count = len(records)
    by_rule = {}
    for rule in rules:
        successes = sum(record["rules"][rule]["success"] for record in records)
        by_rule[rule] = {
            "success": successes / count,
            "success_ci95": list(wilson(successes, count)),
            "success_at_end": sum(record["rules"][rule]["success_at_end"] for record in records) / count,
        }
    modes = Counter(mode for episode in episodes for mode in episode.modes)
    ticks = sum(modes.values())
    gaps = np.concatenate([np.diff(episode.ticks) for episode in episodes])
    return {
        **by_rule[decided_by],
        "rules": by_rule,
        "out_of_limits": sum(episode.out_of_limits for episode in episodes),
        "loop": {
            "control_rate": float(1 / gaps.mean()) if gaps.size else None,
            "tick_ms": percentiles(1000 * gaps),
            "act_ms": percentiles(1000 * np.concatenate([episode.busy for episode in episodes])),
            "frame_age_ms": percentiles(1000 * np.concatenate([episode.ages for episode in episodes])),
            "states": {mode: number / ticks for mode, number in modes.items()},
        },
    }


def film(env: RobotEnvironment, episode: Episode, instance: Instance, path: Path, count: int) -> None:
    """Write the film of an episode."""
    instance.start(env)
    goal = env.goal_observation()["pixels"]
    size = world_size(goal)
    caption = f"instance {instance.instance + 1} of {count}"

    def pictures() -> Any:
        for shot in episode.shots:
            env.set_state(shot.physics)
            yield draw_shot(shot, env.render(size), goal, caption)

    write_mp4(path, pictures(), fps=env.control_rate)


def settings_of(config: RobotConfig) -> dict[str, Any]:
    """The settings as plain JSON; no token is among them."""
    plain = asdict(replace(config, token_file=None, ca_file=None))
    return {key: str(value) if isinstance(value, Path) else value for key, value in plain.items()}


def results_text(result: dict[str, Any]) -> str:
    """The table for the terminal."""
    numbers, loop = result["statistics"], result["loop"]

    def spread(figures: dict[str, Any], scale: float = 1.0) -> str:
        values = [figures[f"p{q}"] for q in (50, 95, 99)]
        return " / ".join("-" if value is None else f"{scale * value:.0f}" for value in values)

    def counts(name: str) -> str:
        found = {label: number for label, number in numbers[name].items() if number}
        return ", ".join(f"{label} {number}" for label, number in sorted(found.items())) or "none"

    rows = []
    for rule, figures in result["rules"].items():
        low, high = figures["success_ci95"]
        interval = f"{100 * figures['success']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        rows.append([f"success by {rule}, % [95 %]", interval])
    plans = numbers["plans"]
    rows += [
        ["control rate, Hz", "-" if loop["control_rate"] is None else f"{loop['control_rate']:.2f}"],
        ["tick to tick, ms p50/p95/p99", spread(loop["tick_ms"])],
        ["act(), ms p50/p95/p99", spread(loop["act_ms"])],
        ["plan, ms p50/p95/p99", spread(numbers["plan_seconds"], 1000)],
        ["frame's age at the tick, ms p50/p95/p99", spread(loop["frame_age_ms"])],
        ["age acted on, ms p50/p95/p99", spread(numbers["age_seconds"], 1000)],
        ["plan seam, % of range p50/p95/p99", spread(numbers["seam"], 100)],
        ["missed deadlines, %", f"{100 * numbers['missed_deadlines']:.2f}"],
        ["plans", counts("plans") if plans else "none"],
        ["time in states, %", ", ".join(f"{mode} {100 * share:.1f}" for mode, share in loop["states"].items())],
        ["changes of state", counts("states")],
        ["frames rejected", counts("rejected")],
        ["actions changed by limits", counts("violations")],
        ["errors", counts("errors")],
        ["actions out of limits", str(result["out_of_limits"])],
    ]
    return table([f"{counted(result['episodes'], 'episode')} of {result['planner']}", ""], rows)
