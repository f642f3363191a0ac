"""Composes a command's configuration with Hydra, and answers a wrong key or choice with one line."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wmplan.errors import UserError
from wmplan.settings.suggest import did_you_mean
from wmplan.settings.text import UNREADABLE, quoted, read, take_as_written

CONFIGS = "wmplan.configs"


def group_options(group: str) -> list[str]:
    """The choices of a configuration group, `configs/<group>/*.yaml`; empty where there is no such group."""
    folder = importlib.resources.files(CONFIGS) / group
    if not re.fullmatch(r"\w+", group) or not folder.is_dir():
        return []
    return sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))


def has_config(command: str) -> bool:
    """Whether the command has settings, that is a file configs/<command>.yaml."""
    return (importlib.resources.files(CONFIGS) / f"{command}.yaml").is_file()


def compose(
    command: str,
    overrides: Sequence[str] = (),
    free: Collection[str] = (),
    text: Callable[[], Mapping[str, bool]] = dict,
) -> dict[str, Any]:
    """The settings of `configs/<command>.yaml` with `key=value` overrides, as plain dicts, lists and numbers.

    A setting that has to be given and was not is "???".

    Args:
        free: keys under which any further key may be given, for what they configure to judge: with "planner",
            planner.temperature=1.
        text: gives the keys that take text, which is taken as it was written; see text_keys().

    Raises:
        UserError: at a key, a choice or a value that does not fit.
    """
    overrides = [_readable(one) for one in overrides]
    groups = _groups(command)
    with hydra.initialize_config_module(CONFIGS, version_base="1.3"):
        choices = [one for one in overrides if _key(one) in groups]
        for one in choices:
            _check_choice(*one.split("=", 1))
        defaults = OmegaConf.to_container(hydra.compose(command, choices), resolve=False)
        known = keys(defaults)
        for index, one in enumerate(overrides):
            if _key(one) in groups | known:
                continue
            if _key(one).partition(".")[0] in free and "." in _key(one):
                overrides[index] = f"++{one}"
                continue
            leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
            raise UserError(f"there is no key {_key(one)!r}; {did_you_mean(_key(one), leaves | groups)}")
        for index, one in enumerate(overrides):
            if _key(one) in known - groups:
                overrides[index] = take_as_written(one, _value(defaults, _key(one)), text)
        # Hydra takes a key that bears a group's name for a choice, also where the command has a setting of that name.
        own = {_key(one): read(one) for one in overrides if _key(one) in known - groups and group_options(_key(one))}
        overrides = [one for one in overrides if _key(one) not in own]
        try:
            settings = OmegaConf.to_container(hydra.compose(command, overrides), resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(" ".join(str(error.__cause__ or error).split())) from error
    assert isinstance(settings, dict)
    return {str(key): value for key, value in {**settings, **own}.items()}


def keys(settings: Any, path: str = "") -> set[str]:
    """Every key of nested settings, a dot between the levels: planner, planner.horizon, ..."""
    if not isinstance(settings, Mapping):
        return set()
    here = {f"{path}{key}" for key in settings}
    return here.union(*(keys(value, f"{path}{key}.") for key, value in settings.items()))


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


def _groups(command: str) -> set[str]:
    """The configuration groups that the command chooses from: those of its defaults list."""
    text = (importlib.resources.files(CONFIGS) / f"{command}.yaml").read_text(encoding="utf-8")
    entries = OmegaConf.to_container(OmegaConf.create(text))
    chosen = entries.get("defaults", []) if isinstance(entries, dict) else []
    return {str(name) for entry in chosen if entry != "_self_" for name in entry}


def _key(override: str) -> str:
    return override.split("=", 1)[0]


def _check_choice(group: str, option: str) -> None:
    options = group_options(group)
    if option not in options:
        raise UserError(f"there is no {group} {option!r}; {did_you_mean(option, options)}")
