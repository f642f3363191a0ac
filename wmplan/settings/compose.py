"""Composes a command's settings, and answers a wrong key or choice with one line.

They are the arguments of what the command runs, with their defaults, nested dataclasses as nested settings; over them
lies configs/COMMAND.yaml, which holds what differs and the configuration groups; then come the choices and values of
the command line, in Hydra's grammar.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wmplan.deprecated import SETTINGS
from wmplan.errors import UserError
from wmplan.settings.command import find_command
from wmplan.settings.describe import default_settings
from wmplan.settings.groups import (
    NO_TASK,
    choice_settings,
    config_file,
    group_options,
    read_text,
    read_yaml,
    whole_choice,
)
from wmplan.settings.protocols import named_protocol
from wmplan.settings.suggest import did_you_mean
from wmplan.settings.text import UNREADABLE, quoted, read, take_as_written

PROTOCOL, TRAINING = "protocol", "training"

__all__ = ["chosen", "compose", "group_options", "has_config", "keys"]


def has_config(command: str) -> bool:
    """Whether the command has settings."""
    return find_command(command).target is not None or bool(read_text(config_file(command)))


def compose(command: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of a command with `key=value` overrides, as plain dicts, lists and numbers.

    A setting that has to be given and was not is "???".

    Raises:
        UserError: at a key, a choice or a value that does not fit.
    """
    one = find_command(command)
    overrides = [_by_new_name(_readable(override)) for override in overrides]
    choices = chosen(command, overrides)
    target = one.load_target()
    own = {} if target is None else default_settings(target, one.hidden)
    for group, choice in choices.items():
        if one.sweeps and "," in choice and set(choice.split(",")) <= set(group_options(group)):
            raise UserError(f"{group} has several values, {choice}: wmplan {command} -m runs each of them")
    if choices.get("task") == NO_TASK and TRAINING not in choices:
        raise UserError(
            f"task=none is for wmplan train; wmplan {command} needs one of {', '.join(group_options('task'))}"
        )
    if TRAINING in choices:  # settings of the command itself, over its defaults
        own = _laid_over(own, choice_settings(TRAINING, choices[TRAINING]))
    defaults = {
        group: _choice_settings(group, choice) for group, choice in choices.items() if group not in (PROTOCOL, TRAINING)
    }
    if PROTOCOL in choices:
        defaults[PROTOCOL] = {**own[PROTOCOL], **_protocol_settings(choices)}
    file = {key: value for key, value in read_yaml(config_file(command)).items() if key != "defaults"}
    defaults |= {key: value for key, value in {**own, **file}.items() if key not in defaults}

    known = keys(defaults)
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
    settings = OmegaConf.create(defaults)
    try:
        for override in overrides:
            key = _key(override)
            if key in choices:
                continue
            if key in known:
                override = take_as_written(override, _value(defaults, key), one.text_keys)
            elif "." not in key or key.partition(".")[0] not in one.free:
                raise UserError(f"there is no key {key!r}; {did_you_mean(key, leaves | set(choices))}")
            OmegaConf.update(settings, key, read(override), merge=True, force_add=True)
        found = OmegaConf.to_container(settings, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error.__cause__ or error).split())) from error
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def chosen(command: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """The choice of each configuration group of the command: that of the overrides, else that of its defaults list."""
    entries = read_yaml(config_file(command)).get("defaults", [])
    choices = {str(group): str(choice) for entry in entries for group, choice in entry.items()}
    choices |= {_key(one): one.split("=", 1)[1] for one in overrides if _key(one) in choices}
    for group, choice in choices.items():
        if same := re.fullmatch(r"\$\{(\w+)\}", choice):  # as in another group
            choices[group] = choices.get(same[1], choice)
    return {group: choice.strip("'\"") for group, choice in choices.items()}


def keys(settings: Any, path: str = "") -> set[str]:
    """Every key of nested settings, a dot between the levels: planner, planner.horizon, ..."""
    if not isinstance(settings, Mapping):
        return set()
    here = {f"{path}{key}" for key in settings}
    return here.union(*(keys(value, f"{path}{key}.") for key, value in settings.items()))


def _choice_settings(group: str, choice: str) -> dict[str, Any]:
    """The settings of a choice, which may be a map of them where the group has a preset that it lies over."""
    given = read(f"{group}={choice}") if choice.startswith("{") else None
    if isinstance(given, dict) and "preset" in group_options(group):
        return {**choice_settings(group, "preset"), **given}
    return whole_choice(group, choice)


def _protocol_settings(choices: Mapping[str, str]) -> dict[str, Any]:
    """What the protocol that is chosen says of the task that is chosen; a map of settings lies over the default."""
    choice = choices[PROTOCOL]
    given = read(f"{PROTOCOL}={choice}") if choice.startswith("{") else None
    return dict(given) if isinstance(given, dict) else named_protocol(choice).on(choices.get("task"))


def _laid_over(settings: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with others in their place; a map of settings lies over the map that is there."""
    found = dict(settings)
    for name, value in over.items():
        inner = found.get(name)
        found[name] = _laid_over(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return found


def _value(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = settings[name]
    return settings


def _readable(override: str) -> str:
    """The override with its value in quotes where Hydra's grammar would trip over it (a path with a space in it)."""
    if re.match(r"--?\w", override):
        name, _, value = override.lstrip("-").partition("=")
        raise UserError(f"settings are written key=value, without dashes: {name}={value or 'VALUE'}")
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[\w.]+", key):
        raise UserError(f"{override!r} is not a setting; settings are written key=value")
    return f"{key}={quoted(value)}" if read(override) is UNREADABLE else override


def _by_new_name(override: str) -> str:
    """The override under the present name of its key; that it had an old one is told in one line."""
    key, _, value = override.partition("=")
    old = next((old for old in SETTINGS if f"{key}.".startswith(f"{old}.")), None)
    if old is None:
        return override
    new = SETTINGS[old] + key.removeprefix(old)
    _tell(f"{key} is now {new}; the old name goes with the next version")
    return f"{new}={value}"


@functools.cache  # settings are composed more than once for a page of help
def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def _key(override: str) -> str:
    return override.split("=", 1)[0]
