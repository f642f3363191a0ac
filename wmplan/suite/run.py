"""Running the benchmarks of a suite, one evaluation after another, each in a folder that goes on where it stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wmplan.control.settings import Choice, planning_settings
from wmplan.counted import counted
from wmplan.device import find_device
from wmplan.errors import NotPossibleError, UserError
from wmplan.evaluation.evaluate import chosen_rows, evaluate
from wmplan.evaluation.policies import DEFAULT_ROWS
from wmplan.evaluation.protocol import POLICY, Protocol
from wmplan.machine import MOST_THREADS
from wmplan.models.loading import card_of, shipped_models, tasks_of
from wmplan.output_folder import check_folder, make_folder
from wmplan.planning.registry import make_config
from wmplan.registry import TASKS, task_key
from wmplan.report.page import write_report
from wmplan.settings.groups import group_options
from wmplan.settings.numbers import MAX_SEED, whole_number
from wmplan.suite.benchmarks import ALL, Benchmark, chosen_benchmarks
from wmplan.suite.entries import Entry, read_entries, write_entries
from wmplan.suite.page import FILMS, write_page
from wmplan.suite.table import write_tables

EXPLORATION = "exploration"
SHIPPED = "shipped"
"""Folder of the runs of the models that come with wmplan, each task having its own."""


def run_suite(
    name: str = ALL,
    *,
    out: str | Path | None = None,
    model: str | None = None,
    protocols: Sequence[str] | None = None,
    episodes: int = 200,
    seed: int = 0,
    planner_seeds: int = 3,
    rows: Sequence[str] | str = DEFAULT_ROWS,
    planner: Choice | None = None,
    workers: int | None = None,
    device: str | None = None,
    told: Callable[[str], None] = print,
) -> list[Entry]:
    """Evaluate tasks of public suites by their published protocols, and write one table of all that `out` holds.

    What was played is kept and not played again: the same command goes on after a kill, with more episodes or for
    another model, whose rows stand beside those that are there, on the same instances.

    Args:
        name: of a suite (native, metaworld, gymnasium_robotics, ogbench, dm_control, gym_pusht or swm), of a task, or
            "all".
        out: folder for table.md, table.json, table.html and a result folder for each row; it has to be given.
        model: a shipped name, a path, or hf://org/name, for every task that it fits; None for the model that is shipped
            for each.
        protocols: run these alone, by name; None for those that are published for each task.
        episodes: held-out instances of each row.
        seed: of the instances and the planners.
        planner_seeds: random streams under which every instance is planned.
        rows: of planner, noop, random, replay, oracle; "all" for all.
        planner: settings or a name; None for what the model's card recommends.
        workers: processes that share the episodes; None for one a core.
        device: for the model; None for what the machine has.
        told: is given a line for each row that is done, or that cannot be had.

    Returns:
        The rows of the table.

    Raises:
        UserError: if there is no such suite, task or protocol, or `out` holds something else.
    """
    if out is None:
        raise UserError("out is missing: wmplan suite out=... for the table, or setup=... for a virtual environment")
    folder = check_folder(out, "a suite", ["suite.json"], ("table.md", "table.json", "table.html", "runs"))
    wanted, played = list(_wanted(name, protocols)), chosen_rows(rows, SHIPPED)
    # What is wrong of every row is said once.
    own = () if model is None else tasks_of(card_of(model))
    for key, number in {"episodes": episodes, "planner_seeds": planner_seeds}.items():
        whole_number(number, key, 1)
    whole_number(seed, "seed", 0, MAX_SEED)
    if workers is not None:
        whole_number(workers, "workers", 1, MOST_THREADS)
    make_config(**planning_settings(None, planner)["planner"])
    find_device(device)
    make_folder(folder)
    write_entries(folder)  # whatever happens, the folder is known as a suite's
    settings: dict[str, Any] = {"episodes": episodes, "seed": seed, "planner_seeds": planner_seeds, "planner": planner}
    settings |= {"workers": workers, "device": device}
    for number, (benchmark, part, protocol) in enumerate(wanted, start=1):
        chosen = shipped_model(benchmark) if model is None else model
        run = folder / "runs" / (SHIPPED if model is None else slug(model)) / f"{benchmark.name}{part}"
        entry = Entry(benchmark, part, chosen, str(run.relative_to(folder)))
        kept = [row for row in played if row != "planner"] if chosen is None else played
        if chosen is None:
            command = f"wmplan suite name={benchmark.task} model=... out={folder}"
            entry = replace(entry, reason=f"no model for {benchmark.task} is shipped: {command}")
        elif own and TASKS[benchmark.task].id not in own:
            entry = replace(entry, reason=f"the model was trained for {', '.join(map(task_key, own))}")
        try:
            require_suite(benchmark)
            if kept:
                told(f"{benchmark.name}{part}: {counted(episodes, 'instance')}, row {number} of {len(wanted)}")
                evaluate(chosen, TASKS[benchmark.task].id, run, protocol=protocol, rows=kept, **settings)
        except UserError as error:
            entry = replace(entry, reason=str(error))
        write_entries(folder, [entry])
        told(f"{benchmark.name}{part}: {entry.reason or 'done'}")
        write_tables(folder, read_entries(folder))
        if (run / "results.json").is_file():
            write_report(run, films=FILMS)
    write_page(folder, read_entries(folder))
    return read_entries(folder)


def require_suite(benchmark: Benchmark) -> None:
    """Raise a UserError with the command that installs the suite of a task, where it is not installed."""
    suite = TASKS[benchmark.task].suite
    if suite is not None and not suite.is_installed:
        raise NotPossibleError(f"{suite.versions[0]} is not installed: {suite.advice}")


def _wanted(name: str, protocols: Sequence[str] | None) -> Iterator[tuple[Benchmark, str, Protocol]]:
    """Each row to run, with a suffix for the one of several offsets, and its protocol."""
    for one in _by_protocols(chosen_benchmarks(name), protocols):
        protocol = Protocol.named(one.protocol, one.task)
        if protocol.instances == POLICY and protocol.policy is None:
            protocol = replace(protocol, policy=EXPLORATION)  # the same instances for every model
        for part, single in protocol.each():
            yield one, f"-{part}" if part else "", single


def _by_protocols(benchmarks: Sequence[Benchmark], protocols: Sequence[str] | None) -> Iterator[Benchmark]:
    """The benchmarks; with named protocols each task by each of these."""
    if protocols is None:
        yield from benchmarks
        return
    if not protocols:
        raise UserError(f"protocols is empty, it has to name some of {', '.join(sorted(group_options('protocol')))}")
    published = {one.name: one for one in benchmarks}
    for task in dict.fromkeys(one.task for one in benchmarks):
        suite = next(one.suite for one in benchmarks if one.task == task)
        for name in protocols:
            wanted = Benchmark(suite, task, name)
            yield published.get(wanted.name, wanted)


def shipped_model(benchmark: Benchmark) -> str | None:
    """The model that comes with wmplan for a task: that of its name or its suite's, else one whose card lists it."""
    cards, identity = shipped_models(), TASKS[benchmark.task].id
    for name in (benchmark.task, benchmark.suite):
        if name in cards:
            return name
    return next((name for name, card in cards.items() if identity in tasks_of(card)), None)


def slug(model: str) -> str:
    """The name of a model's folder, which is none of those that mean something else."""
    plain = re.sub(r"[^\w.-]+", "_", model).strip("_")
    if plain in ("", ".", ".."):
        return "model"
    return f"model_{plain}" if plain == SHIPPED else plain
