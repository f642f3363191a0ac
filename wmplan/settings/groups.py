"""Configuration groups: what planner=NAME, objective=NAME, encoder=NAME, task=NAME, planning=NAME and
training=NAME may be.

A choice is a preset, configs/GROUP/NAME.yaml, which holds what differs from the defaults, or the name of something
that is registered, by a plug-in too.
"""

from __future__ import annotations

import importlib.resources
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf

from wmplan.errors import UserError
from wmplan.registry import ENCODERS, OBJECTIVES, PLANNERS, TASKS, Registry, TaskEntry
from wmplan.settings.describe import default_settings, defaults
from wmplan.settings.numbers import plain
from wmplan.settings.suggest import did_you_mean

CONFIGS = "wmplan.configs"
REGISTRIES: dict[str, Registry[Any]] = {
    "planner": PLANNERS,
    "objective": OBJECTIVES,
    "encoder": ENCODERS,
    "task": TASKS,
    "planning": TASKS,
    "training": TASKS,
}


NO_TASK = "none"
"""What task=NAME may be where data is of no task here."""


def group_options(group: str) -> list[str]:
    """The choices of a configuration group, task=none left out; empty where there is no such group."""
    return sorted({*_presets(group), *REGISTRIES.get(group, ())} - ({NO_TASK} if group == "task" else set()))


def choice_settings(group: str, choice: str) -> dict[str, Any]:
    """The settings that GROUP=CHOICE stands for. A task may also be a Gymnasium id, which ends in -v and a number.

    Raises:
        UserError: if there is no such choice.
    """
    if choice in _presets(group):
        return {**_EMPTY.get(group, {}), **read_yaml(f"{group}/{choice}.yaml")}
    if group in ("task", "planning", "training") and re.search(r"-v\d+$", choice):
        known = [one for one in TASKS.values() if choice in (one.id, one.id.rpartition(":")[2])]
        return _FROM_REGISTRY[group](choice, known[0] if known else TaskEntry(choice, choice))
    if choice not in REGISTRIES.get(group, ()):
        choices = group_options(group)
        offered = [one for one in choices if one != "preset"] or choices  # a preset is what holds without a choice
        raise UserError(f"there is no {group} {choice!r}; {did_you_mean(choice, offered)}")
    return _FROM_REGISTRY[group](choice, REGISTRIES[group][choice])


def whole_choice(group: str, choice: str) -> dict[str, Any]:
    """choice_settings() with all of a planner's defaults where it is a preset: the same for every model.

    To a planner that is only named, the card of a model adds what it recommends.
    """
    settings = choice_settings(group, choice)
    if group == "planner" and choice in _presets(group) and "name" in settings:
        return {**default_settings(PLANNERS[settings["name"]].config), **settings}
    return settings


def read_yaml(name: str) -> dict[str, Any]:
    """A file of wmplan.configs, interpolations left as they are; empty where there is none."""
    content = OmegaConf.to_container(OmegaConf.create(read_text(name)))
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def config_file(command: str) -> str:
    """The name of a command's file: data-convert.yaml for `wmplan data convert`."""
    return f"{command.replace(' ', '-')}.yaml"


def read_text(name: str) -> str:
    """The text of a file of wmplan.configs; empty where there is none."""
    file = importlib.resources.files(CONFIGS) / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _presets(group: str) -> list[str]:
    folder = importlib.resources.files(CONFIGS) / group
    if not re.fullmatch(r"\w+", group) or not folder.is_dir():
        return []
    return [one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml")]


def _objective(name: str, make: Callable[..., Any]) -> dict[str, Any]:
    """The term alone, with its defaults; a setting that it needs is "???"."""
    settings = {key: "???" if value is inspect.Parameter.empty else value for key, value in defaults(make).items()}
    return {name: {"weight": 1.0, **{key: value for key, value in settings.items() if value is not None}}}


def _task(name: str, task: TaskEntry) -> dict[str, Any]:
    return {"name": task.name, "id": task.id, **_copy({"symmetries": task.symmetries, "regions": task.regions})}


def _copy(settings: Any) -> Any:
    """As plain dicts and lists of their own."""
    return json.loads(json.dumps(plain(settings)))


_EMPTY: dict[str, dict[str, Any]] = {
    "task": {"symmetries": {}, "regions": {}},
    "planning": {"planner": {}, "objective": {}, "schedule": {}},
}
_FROM_REGISTRY: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "planner": lambda name, entry: {"name": name},
    "encoder": lambda name, entry: {"kind": name},
    "objective": _objective,
    "task": _task,
    "planning": lambda name, task: {**_EMPTY["planning"], **(_copy(task.planning) or read_yaml("planning/none.yaml"))},
    "training": lambda name, task: _copy(task.training),
}
