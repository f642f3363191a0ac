"""Composes a command's configuration with Hydra, and answers a wrong key or choice with one line."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wmplan.errors import UserError
from wmplan.settings.nearest import did_you_mean

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


def compose(command: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of `configs/<command>.yaml` with `key=value` overrides, as plain dicts, lists and numbers.

    Raises:
        UserError: at a key, a choice or a value that does not fit.
    """
    overrides = [_quoted_where_needed(one) for one in overrides]
    with hydra.initialize_config_module(CONFIGS, version_base="1.3"):
        bare = hydra.compose(command, return_hydra_config=True)
        groups = {key for key in bare.hydra.runtime.choices if "/" not in key}
        choices = [one for one in overrides if _key(one) in groups]
        for one in choices:
            _check_choice(*one.split("=", 1))
        known = _flat(OmegaConf.to_container(hydra.compose(command, choices), resolve=False))
        for one in overrides:
            if _key(one) not in groups | known:
                leaves = {key for key in known if not any(other.startswith(key + ".") for other in known)}
                raise UserError(f"there is no key {_key(one)!r}; {did_you_mean(_key(one), leaves | groups)}")
        try:
            settings = OmegaConf.to_container(hydra.compose(command, list(overrides)), resolve=True)
        except (HydraException, OmegaConfBaseException) as error:
            cause = error.__cause__ or error
            raise UserError(" ".join(str(cause).split())) from error
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def _quoted_where_needed(override: str) -> str:
    """The override with its value in quotes where Hydra's grammar would trip over it (a path with a space in it)."""
    if re.match(r"--?\w", override):
        name, _, value = override.lstrip("-").partition("=")
        raise UserError(f"settings are written key=value, without dashes: {name}={value or 'VALUE'}")
    if "=" not in override:
        raise UserError(f"{override!r} is not a setting; settings are written key=value")
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        key, value = override.split("=", 1)
        if not re.fullmatch(r"[\w.]+", key):
            raise UserError(f"{override!r} is not a setting; settings are written key=value") from None
        return key + "='" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return override


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _check_choice(group: str, option: str) -> None:
    options = group_options(group)
    if option not in options:
        raise UserError(f"there is no {group} {option!r}; {did_you_mean(option, options)}")


def _flat(settings: Any, path: str = "") -> set[str]:
    """Every key of nested settings, a dot between the levels: planner, planner.horizon, ..."""
    if not isinstance(settings, Mapping):
        return set()
    keys = {f"{path}{key}" for key in settings}
    return keys.union(*(_flat(value, f"{path}{key}.") for key, value in settings.items()))
