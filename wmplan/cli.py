"""The `wmplan` command: each command is one thin function, its settings are those of configs/<command>.yaml."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import wmplan
from wmplan.errors import UserError
from wmplan.failures import user_message
from wmplan.settings.nearest import did_you_mean

Settings = dict[str, Any]
Run = Callable[[Settings], int | None]


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        run: takes the settings; its docstring is the help text. An exit status other than 0 is returned.
        positional: the setting that an argument without "=" stands for, if any.
        resumes: whether running it again after an interruption goes on where it stopped.
    """

    run: Run
    positional: str | None = None
    resumes: bool = False

    @property
    def purpose(self) -> str:
        return (inspect.getdoc(self.run) or "").splitlines()[0]


COMMANDS: dict[str, Command] = {}


def command(name: str, positional: str | None = None, resumes: bool = False) -> Callable[[Run], Run]:
    """Register a function as `wmplan NAME`."""

    def register(run: Run) -> Run:
        COMMANDS[name] = Command(run, positional, resumes)
        return run

    return register


# ------------------------------------------------------------------ the commands


@command("collect", resumes=True)
def collect(settings: Settings) -> None:
    """Collect episodes of a task with its scripted exploration policy, as training data.

    Run again after an interruption, it goes on; with more episodes, it adds to what is there. The data depend on
    the seed alone, not on the number of processes.

    Examples:
      wmplan collect task=pusht episodes=500 seed=0 out=data/pusht
      wmplan collect task=arm_reach episodes=2000 processes=2 out=data/arm
    """
    from wmplan.data.collect import CollectConfig
    from wmplan.data.collect import collect as run
    from wmplan.settings.build import build

    config = build(CollectConfig, {**settings, "task": settings["task"]["id"]})
    store = run(config)
    print(f"{config.out}: {len(store)} episodes of {settings['task']['name']}")


@command("models")
def models(settings: Settings) -> None:
    """List the models that are shipped: task, size, and the success that was measured.

    Example:
      wmplan models
    """
    from wmplan.listing import list_models

    print(list_models())


@command("tasks")
def tasks(settings: Settings) -> None:
    """List the tasks: actions, robot state, success rules, and what the shipped models reach.

    Example:
      wmplan tasks
    """
    from wmplan.listing import list_tasks

    print(list_tasks())


@command("doctor")
def doctor(settings: Settings) -> int:
    """Say what this machine has, and the command that mends what is missing.

    Versions, a rendered frame and its time, threads, GPU, whether bf16 gains, memory, disk, and the optional
    extras. Exit status 1 if something is missing that `wmplan demo` needs.

    Example:
      wmplan doctor
    """
    from wmplan.doctor import examine

    return examine()


# ------------------------------------------------------------------ running them


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wmplan ARGV` and return its exit status: 0, 2 for a mistake of the user's, 130 after Ctrl-C.

    Anything else that goes wrong is a bug and shows its traceback; WMPLAN_DEBUG=1 shows it for mistakes too.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    where = "wmplan"
    try:
        if name in ("--help", "-h", "help"):
            print(overview())
            return 0
        if name in ("--version", "-V"):
            print(f"wmplan {wmplan.__version__}")
            return 0
        if name not in COMMANDS:
            raise UserError(f"there is no command {name!r}; {did_you_mean(name, COMMANDS)} (see wmplan --help)")
        where = f"wmplan {name}"
        if {"--help", "-h"} & set(arguments):
            print(help_text(name))
            return 0
        status = COMMANDS[name].run(read_settings(name, arguments[1:])) or 0
        sys.stdout.flush()  # a closed pipe is noticed here, not at exit
        return status
    except KeyboardInterrupt:
        resumes = name in COMMANDS and COMMANDS[name].resumes
        hint = "; the same command goes on where it stopped" if resumes else ""
        print(f"{where}: interrupted{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        message = user_message(error)
        if message is None or os.environ.get("WMPLAN_DEBUG", "0") not in ("", "0"):
            raise
        print(f"{where}: {message}", file=sys.stderr)
        return 2


def read_settings(name: str, arguments: Sequence[str]) -> Settings:
    """The settings of a command with `key=value` arguments, and the one without a key where the command has one.

    Raises:
        UserError: at an argument that is not one of the command's.
    """
    from wmplan.settings.compose import compose, has_config

    positional = COMMANDS[name].positional
    overrides, given = [], False
    for argument in arguments:
        if positional and not given and "=" not in argument and not argument.startswith("-"):
            quoted = argument.replace("\\", "\\\\").replace("'", "\\'")
            overrides.append(f"{positional}='{quoted}'")
            given = True
        else:
            overrides.append(argument)
    if not has_config(name):
        if overrides:
            raise UserError(f"it takes no settings, {overrides[0]!r} was given")
        return {}
    settings = compose(name, overrides)
    for key, value in settings.items():
        if value == "???":
            form = key.upper() if key == positional else f"{key}=..."
            raise UserError(f"{key} is missing: wmplan {name} {form}")
    return settings


def overview() -> str:
    """The text of `wmplan --help`."""
    lines = [(wmplan.__doc__ or "").splitlines()[0], "", "Usage: wmplan COMMAND [key=value ...]", "", "Commands:"]
    lines += [f"  {name:10}{one.purpose}" for name, one in COMMANDS.items()]
    return "\n".join([*lines, "", "wmplan COMMAND --help shows the keys of a command. Begin with: wmplan demo"])


def help_text(name: str) -> str:
    """The text of `wmplan NAME --help`."""
    from wmplan.settings.compose import has_config
    from wmplan.settings.explain import explain

    one = COMMANDS[name]
    usage = f"Usage: wmplan {name}{f' {one.positional.upper()}' if one.positional else ''}"
    if not has_config(name):
        return f"{usage}\n\n{inspect.getdoc(one.run)}"
    return f"{usage} [key=value ...]\n\n{inspect.getdoc(one.run)}\n\nKeys, with their defaults:\n{explain(name)}"


if __name__ == "__main__":
    sys.exit(main())
