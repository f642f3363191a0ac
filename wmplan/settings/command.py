"""The commands by name, each with what it runs and where its settings come from; wmplan.cli registers them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Settings = dict[str, Any]
Run = Callable[[Settings], int | None]


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        run: takes the settings; its docstring is the help text. An exit status other than 0 is returned.
        target: module:name of what the settings are given to: they are its arguments, and its docstring explains them.
        hidden: arguments of it that are no settings, those of nested dataclasses as outer.inner.
        free: keys under which any further key may be given, for what they configure to judge.
        positional: the settings that arguments without "=" stand for, in their order.
        many: the setting that is a list of all arguments without "=".
        resumes: whether running it again after an interruption goes on where it stopped.
        sweeps: whether -m runs it for each combination of settings that have several values.
        text: settings that are text beside those of the target.
    """

    run: Run
    target: str | None = None
    hidden: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    positional: tuple[str, ...] = ()
    many: str | None = None
    resumes: bool = False
    sweeps: bool = False
    text: tuple[str, ...] = ()

    @property
    def purpose(self) -> str:
        return (inspect.getdoc(self.run) or "").splitlines()[0]

    def load_target(self) -> Callable[..., Any] | None:
        """What the settings are given to."""
        if self.target is None:
            return None
        module, _, attribute = self.target.partition(":")
        target: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return target

    def text_keys(self) -> dict[str, bool]:
        """The settings that are text, and whether null is one of their values."""
        from wmplan.settings.text import text_keys

        target = self.load_target()
        return (text_keys(target) if target else {}) | dict.fromkeys(self.text, False)


COMMANDS: dict[str, Command] = {}


def command(name: str, **options: Any) -> Callable[[Run], Run]:
    """Register a function as `wmplan NAME`; the options are fields of Command."""

    def register(run: Run) -> Run:
        COMMANDS[name] = Command(run, **options)
        return run

    return register


def find_command(name: str) -> Command:
    """The command `name`, also where no command line has been read yet."""
    importlib.import_module("wmplan.cli")
    return COMMANDS[name]
