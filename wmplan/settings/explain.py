"""The text of `wmplan COMMAND --help`: what each key means, from the docstring of what it configures, or the comment
beside it in a configuration file. So nothing is written twice."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wmplan.registry import OBJECTIVES, PLANNERS, TaskEntry
from wmplan.settings.command import find_command
from wmplan.settings.compose import chosen, compose
from wmplan.settings.describe import defaults, meanings
from wmplan.settings.groups import config_file, group_options, read_text

WIDTH, TOTAL = 30, 118
SAID = ("name", "kind")  # keys of a choice that only repeat what was chosen


def explain(command: str, overrides: Sequence[str] = ()) -> str:
    """A line for every key of the command, with the values that the overrides give: its value and its meaning."""
    settings, choices = compose(command, overrides), chosen(command, overrides)
    target, free = find_command(command).load_target(), find_command(command).free
    texts = {} if target is None else meanings(target)
    texts |= comments(read_text(config_file(command)))

    def explained_choice(group: str) -> str:
        about = f"{texts[f'defaults.{group}']}; one of {', '.join(group_options(group))}"
        return explained(f"{group}={choices[group]}", about)

    lines = [explained_choice(group) for group in choices if group not in settings]  # whose settings are the command's
    for key, value in settings.items():
        if key not in choices:
            whole = key in free and isinstance(value, Mapping) and not _named_by_user(value, key, texts)
            lines += _lines({key: _shown(value) if whole else value}, texts, "")  # whole: its keys are another's
            continue
        lines.append(explained_choice(key))
        inner = {f"{key}.{name}": text for name, text in choice_texts(key, choices[key], value).items()}
        lines += _lines({name: entry for name, entry in value.items() if name not in SAID}, inner | texts, f"{key}.")
    return "\n".join(lines)


def choice_texts(group: str, choice: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """What the settings of a choice mean: by the docstrings of what is chosen, and the comments of a preset."""
    found: dict[str, str] = {}
    if group == "task":
        found = meanings(TaskEntry)
    elif group == "planner" and settings.get("name") in PLANNERS:
        found = meanings(PLANNERS[settings["name"]].config) | {"name": "the planner"}
    elif group == "objective":
        for term in settings:
            inner = meanings(OBJECTIVES[term]) if term in OBJECTIVES else {}
            found |= {f"{term}.{name}": text for name, text in inner.items()} | {f"{term}.weight": "of this term"}
    elif group == "planning":
        for part in ("planner", "objective", "schedule"):
            inner = choice_texts(part, "preset", settings.get(part, {}))
            found |= {f"{part}.{name}": text for name, text in inner.items()}
    return found | comments(read_text(f"{group}/{choice}.yaml"))


def explain_parameters(target: Callable[..., Any], path: str, values: Mapping[str, Any] | None = None) -> str:
    """A line for every parameter of `target` as path.name=value, with its meaning from the docstring.

    Args:
        values: those that are set; the others have their defaults.
    """
    texts = meanings(target)
    shown = {**defaults(target), **(values or {})}
    return "\n".join(_lines(shown, {f"{path}.{name}": text for name, text in texts.items()}, f"{path}."))


def explain_values(settings: Mapping[str, Any]) -> str:
    """A line for every setting, dots between the levels."""
    return "\n".join(_lines(settings, {}, ""))


def comments(text: str) -> dict[str, str]:
    """The comment of every key of a YAML file: behind it, or on the lines above it.

    Keys of nested mappings are joined by dots; the entries of the defaults list are defaults.NAME.
    """
    found: dict[str, str] = {}
    above: list[str] = []
    parents: list[tuple[int, str]] = []  # (indentation, key) of the mappings around the line
    for line in text.splitlines():
        if match := re.match(r"\s*#\s?(.*)", line):
            above.append(match[1].strip())
            continue
        if match := re.match(r"(\s*)(- )?([\w/]+):(?:\s+(.*))?$", line):
            indent = len(match[1]) + (2 if match[2] else 0)
            while parents and parents[-1][0] >= indent:
                parents.pop()
            parents.append((indent, match[3]))
            behind = re.search(r"(?:^|\s)#\s?(.*)$", match[4] or "")
            meaning = behind[1] if behind else " ".join(above)
            if meaning:
                found[".".join(key for _, key in parents)] = meaning.strip()
        above = []
    return found


def _lines(settings: Mapping[str, Any], texts: Mapping[str, str], path: str) -> list[str]:
    lines = []
    for key, value in settings.items():
        if _named_by_user(value, f"{path}{key}", texts):
            lines.append(explained(f"{path}{key}={{{', '.join(value)}}}", texts[f"{path}{key}"]))
        elif isinstance(value, Mapping) and value:
            if f"{path}{key}" in texts:
                lines.append(explained(f"{path}{key}", texts[f"{path}{key}"]))
            lines += _lines(value, texts, f"{path}{key}.")
        else:
            required = value == "???" or value is inspect.Parameter.empty
            meaning = texts.get(f"{path}{key}", "") + (" (has to be given)" if required else "")
            lines.append(explained(f"{path}{key}={'...' if required else _shown(value)}", meaning))
    return lines


def _named_by_user(value: Any, key: str, texts: Mapping[str, str]) -> bool:
    """Whether a setting maps names of the user's choice to mappings: what they hold is explained by the key's text."""
    named = isinstance(value, Mapping) and value and all(isinstance(entry, Mapping) for entry in value.values())
    return bool(named) and key in texts and not any(name.startswith(f"{key}.") for name in texts)


def explained(setting: str, meaning: str) -> str:
    """A setting and its meaning beside it, in lines of the width of a terminal."""
    indent = " " * (WIDTH + 2)
    body = textwrap.fill(meaning, TOTAL, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    if len(setting) >= WIDTH - 1:
        return f"  {setting}\n{body}" if meaning else f"  {setting}"
    return f"  {setting:{WIDTH}}{body[WIDTH + 2 :]}".rstrip()


def inline(settings: Mapping[str, Any]) -> str:
    """Settings on one line: key=value, key=value."""
    return ", ".join(f"{key}={_shown(value)}" for key, value in settings.items())


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_shown(entry)}' for key, entry in value.items())}}}"
    return str(value)
