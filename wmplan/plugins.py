"""Plug-ins: planners, objectives, encoders, predictors, tasks and readers from packages of others.

A part registers itself by a decorator where its module is imported:

    from wmplan import register_planner

    @register_planner("halton")
    class HaltonSearch(Planner): ...

The module is imported for every command if its distribution names it in the entry-point group `wmplan.plugins`
(pyproject.toml: [project.entry-points."wmplan.plugins"] mine = "my_package.parts"), or for one command with
`plugins=my_package.parts`, or from Python with load_plugins("my_package.parts"). Processes that a command starts import
the same modules.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from wmplan.errors import UserError
from wmplan.settings.suggest import did_you_mean

T = TypeVar("T")

GROUP = "wmplan.plugins"
VARIABLE = "WMPLAN_PLUGINS"
"""Names the modules given by plugins=..., comma-separated, for the processes that a command starts."""

_loaded: set[str] = set()


class Registry(Mapping[str, T]):
    """Parts of one kind by name: the package's own, and those that plug-ins register.

    Plug-ins are imported when a name is asked for that is not there, so that a name from one needs no import before.

    Args:
        kind: what the parts are called in messages: "planner".
        own: the package's own parts.
    """

    def __init__(self, kind: str, own: Mapping[str, T]) -> None:
        self.kind = kind
        self._parts = dict(own)

    def register(self, name: str) -> Callable[[Any], Any]:
        """A decorator that adds what it decorates under `name` and returns it unchanged.

        Raises:
            UserError: if another part has this name.
        """

        def add(part: Any) -> Any:
            other = self._parts.setdefault(name, part)
            if other is not part and _origin(other) != _origin(part):
                raise UserError(f"there are two {self.kind}s named {name!r}: {_origin(other)} and {_origin(part)}")
            self._parts[name] = part  # of a module that is imported anew
            return part

        return add

    def __getitem__(self, name: str) -> T:
        """The part.

        Raises:
            UserError: if there is none of this name; it names the closest.
        """
        if name not in self:
            raise UserError(f"there is no {self.kind} {name!r}; {did_you_mean(name, self)}")
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._parts:
            load_plugins()
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(self._parts)

    def __len__(self) -> int:
        load_plugins()
        return len(self._parts)


def load_plugins(*modules: str) -> None:
    """Import modules that register parts: those named, and all that installed packages announce.

    Raises:
        UserError: naming a module that is not there or that raises as it is imported.
    """
    given = [one for one in os.environ.get(VARIABLE, "").split(",") if one]
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*given, *modules]))
    announced = _announced()
    for module in dict.fromkeys([*announced, *given, *modules]):
        if module in _loaded:
            continue
        _loaded.add(module)  # before the import: a plug-in may look at a registry while it registers
        try:
            importlib.import_module(module)
        except Exception as error:
            _loaded.discard(module)
            what = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"the plug-in {announced.get(module, module)!r} ({module}) cannot be imported: {what}"
            ) from error


@functools.cache
def _announced() -> dict[str, str]:
    """The modules that installed packages announce, with the names they give them."""
    return {one.module: one.name for one in importlib.metadata.entry_points(group=GROUP)}


def _origin(part: Any) -> str:
    return f"{getattr(part, '__module__', '?')}.{getattr(part, '__qualname__', part)}"
