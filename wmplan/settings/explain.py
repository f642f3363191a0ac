"""The text of `wmplan COMMAND --help`: what each key means, from the comment beside it in its configuration file, or
from the docstring of what it configures. So nothing is written twice."""

from __future__ import annotations

import importlib.resources
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from wmplan.settings.compose import CONFIGS, compose, group_options
from wmplan.settings.describe import defaults, meanings

WIDTH, TOTAL = 30, 118
SAID = ("name", "kind")  # keys of a choice that only repeat what was chosen


def explain(
    command: str,
    overrides: Sequence[str] = (),
    target: Callable[..., Any] | None = None,
    free: Collection[str] = (),
) -> str:
    """A line for every key of the command: its value and its meaning.

    Args:
        overrides: settings to show in place of the defaults.
        target: what the settings are given to; its docstring explains keys that have no comment.
        free: see compose().
    """
    settings = compose(command, overrides, free)
    texts = {} if target is None else meanings(target)
    texts |= comments(_read(f"{command}.yaml"))
    lines = []
    for key, value in settings.items():
        if f"defaults.{key}" not in texts:
            lines += _lines({key: value}, texts, "")
            continue
        chosen = _choice(command, key, overrides)
        lines.append(_line(f"{key}={chosen}", f"{texts[f'defaults.{key}']}; one of {', '.join(group_options(key))}"))
        inner = comments(_read(f"{key}/{chosen}.yaml"))
        value = {name: entry for name, entry in value.items() if name not in SAID}
        lines += _lines(value, {f"{key}.{name}": text for name, text in inner.items()} | texts, f"{key}.")
    return "\n".join(lines)


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
            lines.append(_line(f"{path}{key}={{{', '.join(value)}}}", texts[f"{path}{key}"]))
        elif isinstance(value, Mapping) and value:
            if f"{path}{key}" in texts:
                lines.append(_line(f"{path}{key}", texts[f"{path}{key}"]))
            lines += _lines(value, texts, f"{path}{key}.")
        else:
            required = value == "???" or value is inspect.Parameter.empty
            meaning = texts.get(f"{path}{key}", "") + (" (has to be given)" if required else "")
            lines.append(_line(f"{path}{key}={'...' if required else _shown(value)}", meaning))
    return lines


def _named_by_user(value: Any, key: str, texts: Mapping[str, str]) -> bool:
    """Whether a setting maps names of the user's choice to mappings: what they hold is explained by the key's text."""
    named = isinstance(value, Mapping) and value and all(isinstance(entry, Mapping) for entry in value.values())
    return bool(named) and key in texts and not any(name.startswith(f"{key}.") for name in texts)


def _line(setting: str, meaning: str) -> str:
    indent = " " * (WIDTH + 2)
    body = textwrap.fill(meaning, TOTAL, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    if len(setting) >= WIDTH - 1:
        return f"  {setting}\n{body}" if meaning else f"  {setting}"
    return f"  {setting:{WIDTH}}{body[WIDTH + 2 :]}".rstrip()


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)


def _choice(command: str, group: str, overrides: Sequence[str]) -> str:
    chosen = [one.split("=", 1)[1] for one in overrides if one.startswith(f"{group}=")]
    if chosen:
        return chosen[-1]
    match = re.search(rf"^\s*- {group}:\s*(\S+)", _read(f"{command}.yaml"), re.MULTILINE)
    assert match, f"configs/{command}.yaml has no default for {group}"
    other = re.fullmatch(r"\$\{(\w+)\}", match[1])  # the same choice as in another group
    return _choice(command, other[1], overrides) if other else match[1]


def _read(name: str) -> str:
    return (importlib.resources.files(CONFIGS) / name).read_text(encoding="utf-8")
