"""Environments by their Gymnasium ids, also in worker processes, which have not run what the calling program has."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium

from wmplan.data.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.failures import user_message


def make_environment(task: str, options: Mapping[str, Any]) -> PlanningEnvironment:
    """The environment of a Gymnasium id, without Gymnasium's wrappers.

    Raises:
        UserError: if there is no such task, it cannot be made with these options, or not be planned in.
    """
    try:
        env = gymnasium.make(task, disable_env_checker=True, **options).unwrapped
    except gymnasium.error.UnregisteredEnv as error:
        advice = "" if ":" in task else f"; write MODULE:{task}, with the module that registers it"
        raise UserError(f"task {task!r} cannot be made: {error}{advice}") from error
    except Exception as error:  # whatever the environment's own code raises
        said = user_message(error) or " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"task {task!r} cannot be made: {said}") from error
    if not isinstance(env, PlanningEnvironment):
        names = [name for name in vars(PlanningEnvironment) if not name.startswith("_") and not hasattr(env, name)]
        env.close()
        raise UserError(
            f"task {task!r} cannot be planned in: it lacks {', '.join(names)}, which wmplan.data.environment describes"
        )
    return env


@dataclass(frozen=True)
class Registration:
    """What a worker process has to know of a task that only the calling program has registered.

    Attributes:
        task: Gymnasium id.
        specs: what is registered under it, pickled for a process of our own; None where that cannot be done.
    """

    task: str
    specs: bytes | None

    @classmethod
    def of(cls, task: str) -> Registration:
        """The registration of a task in this process; an id with its module needs none."""
        own = [spec for name, spec in gymnasium.registry.items() if task in (name, name.rpartition("-v")[0])]
        try:
            return cls(task, pickle.dumps(own))
        except Exception:  # a lambda, a class within a function, an option that does not travel
            return cls(task, None)

    def processes(self, wanted: int) -> int:
        """How many processes can work on the task: as many as wanted, or this one alone, with a warning."""
        if wanted == 1 or self.specs is not None:
            return wanted
        warnings.warn(
            f"task {self.task!r} is registered with a function or class that worker processes cannot be given: all is "
            f"done in this process. Register it in a module and write MODULE:{self.task} to use several",
            stacklevel=3,
        )
        return 1

    def register(self) -> None:
        """Register in a worker process what it does not know.

        Raises:
            UserError: if the worker cannot import what makes the environment.
        """
        if self.specs is None:  # of a task that this process registered itself
            return
        try:
            specs = pickle.loads(self.specs)
        except Exception as error:
            raise UserError(
                f"task {self.task!r} is registered by the calling program, where a worker process does not find it "
                f"({error}): register it in a module and write MODULE:{self.task}, or use one process"
            ) from error
        for spec in specs:
            gymnasium.registry.setdefault(spec.id, spec)
