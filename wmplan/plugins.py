"""Plug-ins: modules of strangers that register planners, objectives, encoders, predictors, tasks and readers.

They are found by the entry-point group wmplan.plugins of installed packages, by the key plugins=MODULE of every
command, and by the environment variable WMPLAN_PLUGINS (modules with commas between them), which worker processes
inherit. They are loaded when something is asked for that wmplan does not have itself, once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from wmplan.errors import UserError

GROUP, VARIABLE = "wmplan.plugins", "WMPLAN_PLUGINS"

_loaded: set[str] = set()


def add_plugins(names: str | Sequence[str]) -> None:
    """Name plug-ins, MODULE or MODULE:FUNCTION, for this process and those it starts, and load all there are.

    Raises:
        UserError: as load_plugins() does.
    """
    wanted = [*_named(), *([names] if isinstance(names, str) else names)]
    os.environ[VARIABLE] = ",".join(dict.fromkeys(wanted))
    load_plugins()


def load_plugins() -> None:
    """Import the plug-ins that have not been; a function among them is called.

    Raises:
        UserError: naming a plug-in that cannot be imported or raises an error.
    """
    for name in _named():
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a file of the user's beside him is a module too
        _load(name, lambda name=name: _imported(name), name)  # type: ignore[misc]
    if GROUP not in _loaded:
        from importlib.metadata import entry_points

        for entry in entry_points(group=GROUP):
            _load(f"{GROUP}:{entry.value}", entry.load, f"{entry.name} ({entry.value})")
        _loaded.add(GROUP)


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


def _load(key: str, load: Callable[[], Any], shown: str) -> None:
    if key in _loaded:
        return
    _loaded.add(key)  # before: a plug-in may look a name up while it is imported
    try:
        found = load()
        if callable(found):
            found()
    except Exception as error:  # whatever a stranger's module raises
        _loaded.discard(key)
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"plug-in {shown} cannot be loaded: {' '.join(said.split())}") from error


def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    return getattr(found, function) if function else found
