"""Tables for the terminal: the result of an evaluation, the shipped models, the tasks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from wmplan.counted import counted
from wmplan.errors import UserError
from wmplan.evaluation.instance_sources import flag_said, instances_said, why_unserved
from wmplan.evaluation.results import counted_success
from wmplan.registry import TASKS
from wmplan.settings.protocols import named_protocols
from wmplan.text_table import table

TOTAL = 118
"""Letters in a line."""


def results_table(result: Mapping[str, Any]) -> str:
    """The rows of an evaluation: success with its interval, by every rule of the task, and the time of a plan."""
    rules = list(next(iter(result["rows"].values()))["rules"])
    head = [
        "row",
        *(f"{rule}, {when}" for rule in rules for when in ("any time", "at end")),
        "gap closed",
        "plan ms (p50)",
    ]
    rows = []
    for name, row in result["rows"].items():
        cells = [name]
        for rule in rules:
            figures = row["rules"][rule]
            low, high = figures["success_ci95"]
            cells += [
                f"{_percent(figures['success'])} [{_percent(low)}, {_percent(high)}]",
                _percent(figures["success_at_end"]),
            ]
        median = row["plan_ms"]["p50"]
        gap = "-" if row["gap_closed"] is None else _percent(row["gap_closed"])
        rows.append([*cells, gap, "-" if median is None else f"{median:.0f}"])
    protocol = result["protocol"]
    instances, goal = instances_said(result)
    named = f"protocol {protocol['name']}, " if "name" in protocol else ""
    when = ", which counts at the end," if counted_success(result) == "success_at_end" else ""
    said = (
        f"{named}{instances}, seed {result['seed']}: {goal}, {protocol['budget']} steps to get there; "
        f"success{when} in % with its 95 % interval"
    )
    absent = [f"row {name}: absent, {reason}" for name, reason in result.get("rows_absent", {}).items()]
    flag = flag_said(result)
    below = [*_in_time(result["rows"].get("planner")), *_unsolved(result), *absent, *([flag] if flag else []), said]
    return "\n".join([table(head, rows), *below])


def sweep_table(sweep: Mapping[str, Any]) -> str:
    """The runs of a sweep, each with the settings that differ and its rows' success and time of a plan."""
    runs = sweep["runs"]
    keys = list(runs[0]["settings"])
    rule = next(iter(next(iter(runs[0]["rows"].values()))["rules"]))
    rows = []
    for run in runs:
        planner = {name: row for name, row in run["rows"].items() if name == "planner"}
        for name, row in (planner or run["rows"]).items():
            low, high = row["success_ci95"]
            median = row["plan_ms"]["p50"]
            success = f"{_percent(row['success'])} [{_percent(low)}, {_percent(high)}]"
            chosen = [run["settings"][key] for key in keys]
            cells = [run["folder"], *chosen, name, success, _percent(row["success_at_end"])]
            rows.append([*cells, "-" if median is None else f"{median:.0f}"])
    head = ["folder", *keys, "row", f"{rule}, any time", f"{rule}, at end", "plan ms (p50)"]
    hint = "success in % with its 95 % interval; wmplan compare FOLDER FOLDER tests two of them in pairs"
    return "\n".join([table(head, rows), hint])


def _unsolved(result: Mapping[str, Any]) -> list[str]:
    """The figures without the instances that doing nothing solves, where the protocol keeps such."""
    if not result["protocol"].get("keep_solved"):
        return []
    field = counted_success(result)
    rest = {name: row["without_solved"] for name, row in result["rows"].items()}
    count = next(iter(rest.values()))
    if count is None:
        return ["all instances are solved by doing nothing"]
    if count["episodes"] == result["episodes"]:
        return ["no instance is solved by doing nothing"]
    told = [
        f"{name} {_percent(row[field])} [{', '.join(map(_percent, row[field + '_ci95']))}]"
        for name, row in rest.items()
    ]
    solved = counted(result["episodes"] - count["episodes"], "instance")
    return [f"without {solved} that doing nothing solves: {', '.join(told)}"]


def _in_time(row: Mapping[str, Any] | None) -> list[str]:
    """How soon the planner succeeds, by the first rule; nothing of results that do not say it."""
    if row is None:
        return []
    rule, figures = next(iter(row["rules"].items()))
    if figures.get("median_steps") is None:
        return []
    shares = ", ".join(f"{_percent(share)} % by step {end}" for end, share in figures["success_by"].items())
    return [f"planner, {rule}: {shares}; half of its successes by step {figures['median_steps']:.0f}"]


def comparison_table(found: Mapping[str, Any]) -> str:
    """Two evaluations side by side by every rule, what differs in their settings, and what the numbers can show."""
    head = ["rule", "A", "B", "B - A", "95 % interval", "only A", "only B", "p"]
    rows = []
    for one in found["comparisons"]:
        low, high = one["ci95"]
        rows.append(
            [
                f"{one['rule']}, {one['when']}",
                _percent(one["first"]),
                _percent(one["second"]),
                _points(one["difference"]),
                f"[{_points(low)}, {_points(high)}]",
                str(one["only_first"]),
                str(one["only_second"]),
                f"{one['p_value']:.2g}",
            ]
        )
    seeds, first, second = found["planner_seeds"], found["first"]["folder"], found["second"]["folder"]
    test = "McNemar's exact test" if len(seeds) == 1 else "exact sign flips of instances (McNemar's, with seeds)"
    return "\n".join(
        [
            f"A is {first}, B is {second}: row {found['row']}, {counted(found['instances'], 'instance')} "
            f"that both have, {counted(len(seeds), 'planner seed')}",
            *_left_out(found),
            *_differences(found["differs"]),
            "",
            table(head, rows),
            f"success in %, differences in points with Tango's score interval; p by {test}",
            *_power(found),
        ]
    )


def _left_out(found: Mapping[str, Any]) -> Iterator[str]:
    """Instances and planner seeds that only one of both has, on one line."""
    both = {"instances": found["instances"], "planner seeds": len(found["planner_seeds"])}
    had = {name: [found[side][name.replace(" ", "_")] for side in ("first", "second")] for name in both}
    more = [f"A has {a} {name}, B {b}" for name, (a, b) in had.items() if {a, b} != {both[name]}]
    if more:
        yield f"what one of them has alone is left out: {'; '.join(more)}"


def _differences(differs: Mapping[str, Any]) -> Iterator[str]:
    """Settings that differ, on one line."""
    if differs:
        shown = [f"{name} {before} / {after}" for name, (before, after) in differs.items()]
        more = f", and {len(shown) - 8} more" if len(shown) > 8 else ""
        yield f"they differ in {', '.join(shown[:8])}{more}"


def _power(found: Mapping[str, Any]) -> Iterator[str]:
    """What a difference takes, and what these instances show."""
    power, instances = found["power"], found["instances"]
    chance, share = f"{_percent(power['power'])} % power", power["discordant"]
    if power["instances_needed"] is not None:
        apart = f"{_percent(max(share, power['difference']))} % of the episodes differ"
        apart += f", the fewest that can; here {_percent(share)} % do" if share < power["difference"] else ""
        needed = counted(power["instances_needed"], "instance")
        yield f"{chance}: a difference of {_percent(power['difference'])} points takes {needed}, where {apart}"
    least = power["detectable_difference"]
    said = "too few to show any difference" if least is None else f"they show {_percent(least)} points and more"
    yield f"{chance}: there are {counted(instances, 'instance')}, {said}"


def _points(rate: float) -> str:
    """A difference of rates in percentage points, with its sign."""
    return f"{100 * rate:+.1f}"


def list_models() -> str:
    """The shipped models with their task, size, and what their cards say was measured."""
    from wmplan.exam.examinees import load_any
    from wmplan.models import VideoJEPA, resolve, shipped_models
    from wmplan.models.loading import tasks_of

    names = {entry.id: name for name, entry in TASKS.items()}
    told = []
    for name, card in shipped_models().items():
        model = load_any(name, device="cpu")
        spec, size = model.spec, (resolve(name) / "weights.safetensors").stat().st_size / 1e6
        count = sum(parameter.numel() for parameter in model.parameters())
        height, width = spec.image_size
        frames = model.spec.frames if isinstance(model, VideoJEPA) else model.spec.history
        tasks = ", ".join(names.get(one, one) for one in tasks_of(card)) or "no task"
        shape = f"{frames} frames of {height} x {width}, {count / 1e6:.2f} M parameters, {size:.1f} MB"
        measured = textwrap.fill(_measured(card), TOTAL, initial_indent="  measured: ", subsequent_indent=" " * 12)
        told.append(f"{name}  ({tasks})\n  sees:     {shape}\n{measured}")
    return "\n\n".join(told) or "no models are shipped in this installation"


def list_tasks() -> str:
    """The tasks with their actions, robot state, rules, protocol, and what the shipped models reach."""
    told = ["\n".join(_describe_task(name)) for name in sorted(TASKS)]
    protocols = [f"  {one.name + ':':11}{one.about}" for one in named_protocols()]
    return "\n\n".join([*told, "\n".join(["protocol=NAME of wmplan eval, whose --help has the sources:", *protocols])])


def _describe_task(name: str) -> Iterator[str]:
    from wmplan.data.registered import make_environment
    from wmplan.evaluation.protocol import Protocol
    from wmplan.models import shipped_models
    from wmplan.models.loading import tasks_of

    identity, suite = TASKS[name].id, TASKS[name].suite
    if suite is not None and not suite.is_installed:
        yield f"{name}  ({identity})"
        yield f"  {suite.versions[0]} is not installed: {suite.advice}"
        return
    try:
        env = make_environment(identity, {})
    except UserError as error:  # of one task, the others are there
        yield f"{name}  ({identity})"
        yield f"  {error}"
        return
    task = env.task
    yield f"{name}  ({identity}, {env.control_rate:g} robot steps a second)"
    bounds = zip(task.action_names, task.action_low, task.action_high, strict=True)
    yield "  action:    " + ", ".join(f"{one} from {low:g} to {high:g}" for one, low, high in bounds)
    yield f"  proprio:   {', '.join(task.proprio_names)}"
    yield f"  state:     {', '.join(task.state_names)}"
    yield f"  rules:     {', '.join(task.rules(env.goal, env.goal))} (the first counts)"
    missing = {one.name: why_unserved(env, Protocol.named(one.name, name)) for one in named_protocols()}
    served = [one for one, why in missing.items() if why is None]
    unserved = [f"{one} ({why})" for one, why in missing.items() if why is not None]
    yield f"  protocols: {', '.join(served)}" + (f"; not {', '.join(unserved)}" if unserved else "")
    for model, card in shipped_models().items():
        if identity in tasks_of(card):
            yield f"  model:     {model}, measured {_measured(card)}"
    env.close()


def _measured(card: Mapping[str, Any]) -> str:
    """The success rates among a card's figures, and the pairs that were won in an exam."""
    figures = card.get("figures") or {}
    found = {name: value for name, value in figures.items() if "success" in name or name == "pairs_won"}
    told = (f"{name.replace('_', ' ')}: {_percent(value)} %" for name, value in found.items())
    return "; ".join(told) or "not in its card"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}".removesuffix(".0")
