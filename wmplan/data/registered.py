"""Environments by their Gymnasium ids, also in worker processes, which have not run what the calling program has."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import gymnasium

import wmplan.gl_backend  # noqa: F401  before an environment imports mujoco
from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.failures import user_message
from wmplan.gym.adapter import adapt, is_complete
from wmplan.gym.options import split_options
from wmplan.registry import TASKS


def make_environment(task: str, options: Mapping[str, Any]) -> PlanningEnvironment:
    """The environment of a Gymnasium id, which draws to arrays.

    What a plain Gymnasium environment lacks is filled in; it keeps its wrappers, its time limit among them. Which
    abilities it has, wmplan.environment.has() tells; the type says all of them, for those who have asked.

    Raises:
        UserError: if there is no such task, or it cannot be made with these options, acted in or drawn.
    """
    own, rest = split_options(options)
    try:
        env, image_size = _make(task, rest)
    except gymnasium.error.UnregisteredEnv as error:
        advice = "" if ":" in task else f"; write MODULE:{task}, with the module that registers it"
        raise UserError(f"task {task!r} cannot be made: {error}{advice}") from error
    except Exception as error:  # whatever the environment's own code raises
        raise UserError(f"task {task!r} cannot be made: {_said(error)}{_unfit(task, error)}") from error
    try:
        return cast(PlanningEnvironment, adapt(env, image_size, own))
    except Exception as error:
        env.close()
        raise UserError(f"task {task!r} cannot be planned in: {_said(error)}") from error


def _make(task: str, options: dict[str, Any]) -> tuple[gymnasium.Env[Any, Any], tuple[int, int] | None]:
    """The environment, and the size its frames are still to be brought to."""
    image_size = None
    try:
        env = gymnasium.make(task, disable_env_checker=True, **options)
    except TypeError as error:
        if "image_size" not in options or "'image_size'" not in str(error):
            raise
        size = options.pop("image_size")  # a plain environment does not know it
        image_size = (size, size) if isinstance(size, int) else (size[0], size[1])
        env = gymnasium.make(task, disable_env_checker=True, **options)
    if (
        env.render_mode is None
        and not is_complete(env.unwrapped)
        and "rgb_array" in env.metadata.get("render_modes", ())
    ):
        env.close()
        env = gymnasium.make(task, disable_env_checker=True, render_mode="rgb_array", **options)
    return env, image_size


def most_steps(env: Any) -> int | None:
    """Robot steps after which an episode ends by the time limit that the task is registered with; None for none.

    A complete environment is used without its limit, which is that of its registration.
    """
    if hasattr(env, "most_steps"):
        own: int | None = env.most_steps
        return own
    spec = getattr(env, "spec", None)
    registered = None if spec is None else gymnasium.registry.get(spec.id)
    return None if registered is None else registered.max_episode_steps


def _said(error: Exception) -> str:
    """What an environment's own code raised, in one line."""
    return user_message(error) or " ".join(f"{type(error).__name__}: {error}".split())


def _unfit(task: str, error: Exception) -> str:
    """That what is installed of a task's suite does not fit, where its code has failed by itself."""
    suite = next((entry.suite for entry in TASKS.values() if entry.id == task), None)
    if suite is None or user_message(error) is not None or "unexpected keyword" in str(error):
        return ""
    return f"; {suite.unfit()}"


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
