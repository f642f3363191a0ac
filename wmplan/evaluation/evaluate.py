"""What `wmplan eval` runs."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from wmplan.control.planning_core import make_core
from wmplan.control.schedule import Schedule
from wmplan.control.settings import Choice, planning_settings
from wmplan.counted import counted
from wmplan.data.policies import CollectionPolicy, policy_of
from wmplan.data.registered import make_environment
from wmplan.engines.choose import RayConfig, SlurmConfig, make_engine
from wmplan.environment import packages, require
from wmplan.errors import UserError
from wmplan.evaluation.fit import require_fit
from wmplan.evaluation.instance_sources import instance_source
from wmplan.evaluation.instances import Instance, digest, save_instances
from wmplan.evaluation.journal import Journal, Record, read_journal
from wmplan.evaluation.machine import date, machine, versions
from wmplan.evaluation.open_loop import planned_once
from wmplan.evaluation.policies import ALL_ROWS, DEFAULT_ROWS, absent_rows
from wmplan.evaluation.protocol import POLICY, Protocol
from wmplan.evaluation.results import WRITES, assemble, write_results
from wmplan.evaluation.success import rule_names
from wmplan.evaluation.worker import Setup, units_of
from wmplan.evaluation.workers import number_of_workers, run_units
from wmplan.machine import MOST_THREADS
from wmplan.models.base import WorldModel
from wmplan.models.loading import load, sha256
from wmplan.models.precision import log, take_dtype
from wmplan.output_folder import check_folder, make_folder
from wmplan.pieces import Piece, write_piece
from wmplan.planning.config import PlannerConfig
from wmplan.planning.registry import make_config
from wmplan.settings.build import build
from wmplan.settings.dtypes import check_dtype, dtype_name
from wmplan.settings.numbers import MAX_SEED, plain, whole_number


def evaluate(
    model: str | Path | WorldModel | None,
    task: str,
    out: str | Path,
    *,
    planner: Choice | None = None,
    objective: Choice | None = None,
    schedule: Choice | None = None,
    protocol: Protocol | None = None,
    episodes: int = 100,
    seed: int = 0,
    planner_seeds: int = 1,
    oracle_seeds: int = 1,
    rows: Sequence[str] | str = DEFAULT_ROWS,
    instances: str | None = None,
    environment: Mapping[str, Any] | None = None,
    action_block: int = 5,
    workers: int | None = None,
    device: str | None = None,
    dtype: str = "auto",
    shard: str | None = None,
    engine: str = "local",
    ray: RayConfig | None = None,
    slurm: SlurmConfig | None = None,
    on_episode: Callable[[Record], None] | None = None,
) -> dict[str, Any]:
    """Measure success on held-out instances, and write it to a folder.

    A run that was stopped goes on from its finished episodes when it is started again with the same settings; a
    longer one (more episodes, streams or rows) uses those of a shorter one. What it gives depends on the seed and the
    machine, not on the number of workers.

    Args:
        model: a shipped name, a path or a model; None with rows that need none.
        task: Gymnasium id.
        out: the result folder; its files are described in wmplan.evaluation.
        planner, objective, schedule: settings or a name, see wmplan.control.make_controller; left out, what the model's
            card recommends.
        episodes: instances.
        seed: of instances and, with it, of planners.
        planner_seeds: random streams under which the rows planner and random play every instance.
        oracle_seeds: the same for the row oracle, which is slow.
        rows: of planner, noop, random, replay, oracle; "all" for all. Rows that the environment or the instances do
            not allow are left out, with the reason.
        instances: where they come from, in place of protocol.instances; None for what that says.
        environment: options of the environment, over those that the model's data was collected with.
        action_block: robot steps in one step of the oracle's plans, where there is no model to say it.
        workers: that play at once; None for one a core, or for as many as there is room for on a Ray
            cluster, or for an array of 16 Slurm jobs.
        device: for the model: cpu, cuda, cuda:1, mps; auto, or null, for CUDA where there is any.
        dtype: what the model's rollouts multiply in: float32, bfloat16, or auto for bfloat16 where that is faster here
            and the model's card says that it plans as well. A run that goes on keeps its type.
        shard: play one piece alone, as 3/16, the third of sixteen; `wmplan merge` joins all of them, made anywhere.
        engine: who plays: "local", processes of this machine; "ray", workers on a Ray cluster; or "slurm", a job array.
        ray: which cluster, and what a worker takes of it.
        slurm: what a job asks for.
        on_episode: called with the record of each episode as it is finished.

    Returns:
        The content of results.json; of a piece, that of its piece.json.

    Raises:
        UserError: naming the setting that is wrong, or `out`, where it holds a run with other settings.
        OSError: if the disk is full or read-only; what was finished is kept.
    """
    chosen = chosen_rows(rows, model)
    episodes, planner_seeds = whole_number(episodes, "episodes", 1), whole_number(planner_seeds, "planner_seeds", 1)
    oracle_seeds = whole_number(oracle_seeds, "oracle_seeds", 1)
    action_block = whole_number(action_block, "action_block", 1)
    seed = whole_number(seed, "seed", 0, MAX_SEED)
    players = make_engine(engine, ray, slurm)
    piece = None if shard is None else Piece.parse(shard, episodes, counted(episodes, "episode"))
    workers = None if workers is None else whole_number(workers, "workers", 1, MOST_THREADS)
    planner, objective, schedule, environment = plain([planner, objective, schedule, environment])
    protocol, folder = protocol or Protocol(), check_folder(out, "an evaluation", ["per_episode.jsonl"], WRITES)
    instances = protocol.instances if instances is None else instances
    protocol = replace(protocol, offset=protocol.ahead, instances=instances)
    loaded, computes = model_in(model, device, dtype, folder)
    bare = Setup(task, {}, model, device, {}, {}, {}, action_block, protocol, seed, folder)
    bare = bare if loaded is None else replace(bare, dtype=dtype_name(loaded.computes_in))
    setup = _setup(bare, loaded, planner, objective, schedule, environment)
    identity = _identity(setup, loaded)

    env = make_environment(task, setup.environment)
    protocol = protocol.on(env)
    setup = replace(setup, protocol=protocol)
    if protocol.open_loop:
        setup = planned_once(setup, loaded, schedule)
    if loaded is not None and "planner" in chosen:
        require_fit(loaded, type(loaded).__name__ if loaded is model else str(model), env, task, protocol.proprio)
    if "planner" in chosen:
        require(env, "the row planner", "goals")
        if protocol.goal == "scene":
            require(env, "protocol.goal=scene", "goal_mask")
    rules = rule_names(env)
    decided_by = protocol.decided_by(rules)
    source = instance_source(instances, _policy(protocol, loaded))
    given = source.instances(env, protocol, episodes, seed)
    absent = {row: reason for row, reason in absent_rows(env, given).items() if row in chosen}
    chosen = [row for row in chosen if row not in absent]
    played_with = versions(packages(env))
    env.close()
    if not chosen:
        raise UserError("; ".join(f"the row {row} cannot be had: {reason}" for row, reason in absent.items()))
    make_folder(folder / "episodes")
    if computes is not None and "planner" in chosen:
        log.info("planning in %s", computes)

    streams = {"planner": planner_seeds, "random": planner_seeds, "oracle": oracle_seeds}
    played_rows = {row: streams.get(row, 1) for row in chosen}
    units = units_of(played_rows, episodes, piece)
    head: dict[str, Any] = {
        "schema": 1,
        "task": task,
        "protocol": protocol.as_dict(rules, source.held_out),
        "episodes": episodes,
        "seed": seed,
        "instances_sha256": digest(given),
        "model": identity,
        "planner": _planner(setup, planner_seeds),
        "settings": _plain(setup) | ({} if instances == POLICY else {"instances": instances}),
        "date": date(),
        "machine": machine(1),
        "versions": played_with,
    }
    settings = _fingerprint(setup, identity, decided_by, given, instances) | ({"shard": shard} if piece else {})
    with Journal(folder / "per_episode.jsonl", settings) as journal:
        save_instances(folder / "instances.json", given, task, seed, protocol)
        left = [unit for unit in units if unit.key not in journal.records]
        used = number_of_workers(players, workers, len(left)) if left else 1
        head["machine"] = machine(used)
        if piece is not None:
            told = {"rows": played_rows, "rows_absent": absent, "budget": protocol.steps, "result": head}
            part = write_piece(folder, "evaluation", piece, told)
        with (
            tqdm(total=len(units), initial=len(units) - len(left), unit="episode", disable=None) as bar,
            contextlib.closing(run_units(players, setup, given, left, used, played_with)) as played,
        ):
            for record in played if left else ():
                journal.append(record)
                if on_episode is not None:
                    on_episode(copy.deepcopy(record))  # whoever is told may change it
                bar.update()
        records = [journal.records[unit.key] for unit in units]
    if piece is not None:
        return part
    head |= {"date": date(), "machine": machine(used, players.processors)}
    result = assemble(head, chosen, absent, records, protocol.steps)
    write_results(folder / "results.json", result)
    return result


def model_in(
    model: str | Path | WorldModel | None, device: str | None, dtype: str, folder: Path
) -> tuple[WorldModel | None, str | None]:
    """The model, loaded, in the type that it is to multiply in, and what there is to say of that.

    Of "auto" a model that is given stays as it is, and a run that goes on keeps its type: what was faster then may not
    be now.
    """
    check_dtype(dtype)
    if model is None or (isinstance(model, WorldModel) and dtype == "auto"):
        return model, None
    loaded = model if isinstance(model, WorldModel) else load(model, device)
    before = dtype_before(folder) if dtype == "auto" else None
    if before is None:
        return loaded, str(take_dtype(loaded, dtype))
    loaded.compute_in(getattr(torch, before))
    return loaded, f"{before}, as the run that {folder} holds"


def dtype_before(folder: Path) -> str | None:
    """The type of the run that a folder holds, None where it holds none."""
    journal = folder / "per_episode.jsonl"
    if not journal.exists():
        return None
    settings, records = read_journal(journal)
    return str(settings.get("dtype", "float32")) if records else None


def _policy(protocol: Protocol, model: WorldModel | None) -> CollectionPolicy | None:
    """Whose episodes instances are of: as the protocol names it, else that of the model's data."""
    if protocol.policy is not None:
        return CollectionPolicy(protocol.policy)
    return None if model is None else policy_of(model.card)


def chosen_rows(rows: Sequence[str] | str, model: object) -> list[str]:
    """The rows to play.

    Raises:
        UserError: at one that there is not, none at all, or the planner's without a model.
    """
    chosen = list(ALL_ROWS) if rows == "all" else [rows] if isinstance(rows, str) else list(dict.fromkeys(rows))
    for row in chosen:
        if row not in ALL_ROWS:
            raise UserError(f"there is no row {row!r}; there are {', '.join(ALL_ROWS)}, or all")
    if not chosen:
        raise UserError(f"rows is empty, it has to name some of {', '.join(ALL_ROWS)}")
    if "planner" in chosen and model is None:
        raise UserError("the row planner needs a model: model=NAME or a path")
    return chosen


def _setup(
    bare: Setup,
    model: WorldModel | None,
    planner: Choice | None,
    objective: Choice | None,
    schedule: Choice | None,
    environment: Mapping[str, Any] | None,
) -> Setup:
    """The setup with what the model says filled in, and every setting checked before anything runs."""
    planning = planning_settings(model, planner, objective, schedule)
    config = make_config(**planning["planner"])
    build(Schedule, planning["schedule"], "schedule")
    options, action_block = dict(environment or {}), bare.action_block
    if model is not None:
        make_core(model, {**planning, "planner": {**planning["planner"], "compile": "no"}})  # workers compile
        options = {"image_size": list(model.spec.image_size), **model.card.get("environment", {}), **options}
        action_block = model.spec.action_block
    return replace(
        bare,
        environment=options,
        planner={"name": planning["planner"]["name"], **_told(config)},
        objective=planning["objective"],
        schedule=planning["schedule"],
        action_block=action_block,
    )


def _told(config: PlannerConfig) -> dict[str, Any]:
    """Every setting of a planner; older runs, which may go on, do not have the one that changes no plan."""
    told = asdict(config)
    return {name: value for name, value in told.items() if name != "compile" or value != "no"}


def _identity(setup: Setup, model: WorldModel | None) -> dict[str, Any] | None:
    """Which model it is."""
    if model is None:
        return None
    if isinstance(setup.model, WorldModel):
        hashed = hashlib.sha256()
        for name, tensor in model.state_dict().items():
            hashed.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        name, weights = type(model).__name__, hashed.hexdigest()
    else:
        assert setup.model is not None
        name, weights = str(setup.model), sha256(setup.model)
    name = model.card.get("name") or name
    return {"name": name, "sha256": weights, "parameters": sum(p.numel() for p in model.parameters())}


def _planner(setup: Setup, seeds: int) -> dict[str, Any]:
    """Every setting of the planner, for results.json."""
    times = asdict(build(Schedule, setup.schedule, "schedule"))
    times["replan_every"] = times["replan_every"] or setup.action_block
    return {**setup.planner, "objective": setup.objective, **times, "seeds": seeds}


def _plain(setup: Setup) -> dict[str, Any]:
    """What it takes to make the same environment and controller again, as plain JSON."""
    given = None if setup.model is None or isinstance(setup.model, WorldModel) else str(setup.model)
    names = ("task", "environment", "device", "planner", "objective", "schedule", "action_block")
    return {**{name: getattr(setup, name) for name in names}, "model": given, **_rounded(setup)}


def _rounded(setup: Setup) -> dict[str, Any]:
    """The type of the model's products, where it is not the usual one: older results do not have it."""
    return {} if setup.dtype == "float32" else {"dtype": setup.dtype}


def _fingerprint(
    setup: Setup, identity: dict[str, Any] | None, decided_by: str, given: Sequence[Instance], source: str
) -> dict[str, Any]:
    """All that the outcome of an episode depends on: what is not in it may change when a run goes on."""
    names = ("task", "environment", "planner", "objective", "schedule", "action_block", "seed")
    return {
        "schema": 1,
        **{name: getattr(setup, name) for name in names},
        "protocol": {**setup.protocol.settings(), "rule": decided_by},
        "model": None if identity is None else identity["sha256"],
        "first_instance": digest(given[:1]),
        **_rounded(setup),
        **({} if source == POLICY else {"instances": source}),
    }
