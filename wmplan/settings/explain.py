"""The text of `wmplan COMMAND --help`, from the comments in the configuration files: nothing is written twice."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping
from typing import Any

from wmplan.settings.compose import CONFIGS, compose, group_options

WIDTH = 30


def explain(command: str) -> str:
    """A line for every key of the command: its default and its meaning."""
    meanings = comments(_read(f"{command}.yaml"))
    lines = []
    for key, value in compose(command).items():
        options = group_options(key) if f"defaults.{key}" in meanings else []
        if options:
            chosen = _default_choice(command, key)
            lines.append(_line(f"{key}={chosen}", f"{meanings[f'defaults.{key}']}; one of {', '.join(options)}"))
            inner = comments(_read(f"{key}/{chosen}.yaml"))
            lines += _lines(value, {f"{key}.{name}": text for name, text in inner.items()} | meanings, f"{key}.")
        else:
            lines += _lines({key: value}, meanings, "")
    return "\n".join(lines)


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


def _lines(settings: Any, meanings: Mapping[str, str], path: str) -> list[str]:
    lines = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            lines += _lines(value, meanings, f"{path}{key}.")
        else:
            required = " (has to be given)" if value == "???" else ""
            lines.append(_line(f"{path}{key}={_shown(value)}", meanings.get(f"{path}{key}", "") + required))
    return lines


def _line(setting: str, meaning: str) -> str:
    if len(setting) >= WIDTH:
        return f"  {setting}\n  {'':{WIDTH}}{meaning}"
    return f"  {setting:{WIDTH}}{meaning}"


def _shown(value: Any) -> str:
    if value is None or value == "???":
        return "null" if value is None else "..."
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("'", "") if isinstance(value, list) else str(value)


def _default_choice(command: str, group: str) -> str:
    match = re.search(rf"^\s*- {group}:\s*(\w+)", _read(f"{command}.yaml"), re.MULTILINE)
    assert match, f"configs/{command}.yaml has no default for {group}"
    return match[1]


def _read(name: str) -> str:
    return (importlib.resources.files(CONFIGS) / name).read_text(encoding="utf-8")
