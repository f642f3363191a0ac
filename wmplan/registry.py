"""Registries: planners, objectives, cores, encoders, predictors, tasks, readers and exams by name, ours and strangers'.

    @wmplan.register_planner("mine")
    class Mine(Planner): ...

makes planner=mine work on the command line, in checkpoints' cards and in make_planner(). wmplan's own parts are
registered in the same way. The module that does it is imported with the program, or named as a plug-in: see
wmplan.plugins.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from wmplan.errors import UserError
from wmplan.plugins import load_plugins
from wmplan.settings.suggest import did_you_mean
from wmplan.suite_package import SuitePackage

T = TypeVar("T")
D = TypeVar("D", bound=Callable[..., Any])


class Registry(Mapping[str, T], Generic[T]):
    """What is registered of one kind, by name; plug-ins are loaded when a name is missing or all names are wanted.

    Args:
        part: what the entries are, for messages: "planner".
        home: the module whose import registers wmplan's own entries; imported at the first look.
    """

    def __init__(self, part: str, home: str | None = None) -> None:
        self.part, self.home = part, home
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str) -> Callable[[D], D]:
        """A decorator: what is decorated is the entry `name`, and stays as it is."""

        def decorate(target: D) -> D:
            self.add(name, target, target)  # type: ignore[arg-type]  # the entry is what is decorated
            return target

        return decorate

    def add(self, name: str, entry: T, target: Any) -> None:
        """Enter `entry` under `name`; `target` is the class or function that it comes from.

        Defining the same class again, as a notebook does, replaces it.

        Raises:
            UserError: if another has the name, or it cannot be written on a command line.
        """
        module = getattr(target, "__module__", None) or type(target).__module__
        origin = f"{module}.{getattr(target, '__qualname__', type(target).__qualname__)}"
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
            raise UserError(f"the name of a {self.part} must be letters, digits and underscores, got {name!r}")
        if module.partition(".")[0] != "wmplan":
            self._load_home()  # so that wmplan's own names are taken first
        if self._origins.get(name, origin) != origin:
            raise UserError(f"{self.part} {name!r} is registered twice, by {self._origins[name]} and by {origin}")
        self._entries[name], self._origins[name] = entry, origin

    def __getitem__(self, name: str) -> T:
        """The entry `name`.

        Raises:
            UserError: if there is none; it names what may have been meant.
        """
        if name not in self:
            raise UserError(f"there is no {self.part} {name!r}; {did_you_mean(str(name), self)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load_home()
        if name not in self._entries:
            load_plugins()
        return name in self._entries

    def get(self, name: str, default: Any = None) -> Any:
        return self._entries[name] if name in self else default

    def __iter__(self) -> Iterator[str]:
        self._load_home()
        load_plugins()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(tuple(iter(self)))

    def __repr__(self) -> str:
        return f"Registry({self.part}: {', '.join(self._entries)})"

    def _load_home(self) -> None:
        if self.home is not None:
            importlib.import_module(self.home)


class PlannerEntry(NamedTuple):
    """A subclass of Planner and the dataclass of its settings, a subclass of PlannerConfig."""

    planner: type[Any]
    config: type[Any]


@dataclass(frozen=True)
class TaskEntry:
    """A task: its environment, and what training and planning may know of it.

    Attributes:
        name: what task=NAME says.
        id: the Gymnasium id of its environment, MODULE:ID, with the module whose import registers it.
        symmetries: what becomes of frames, an action and proprioception under each; see wmplan.data.symmetry.
        regions: of states, by the norm of some entries; the probe's errors are told for each.
        planning: how a trained model's card recommends to plan: the settings of planner, objective and schedule.
        training: settings of `wmplan train` that suit it, where they are not the defaults.
        suite: the package that its environment takes, of a public suite's task.
    """

    name: str
    id: str
    symmetries: Mapping[str, Any] = field(default_factory=dict)
    regions: Mapping[str, Any] = field(default_factory=dict)
    planning: Mapping[str, Any] = field(default_factory=dict)
    suite: SuitePackage | None = None
    training: Mapping[str, Any] = field(default_factory=dict)


PLANNERS: Registry[PlannerEntry] = Registry("planner", "wmplan.planning")
OBJECTIVES: Registry[Callable[..., Any]] = Registry("objective", "wmplan.planning.objectives.registry")
CORES: Registry[Callable[..., Any]] = Registry("planning core", "wmplan.control.search_core")
ENCODERS: Registry[Callable[..., Any]] = Registry("encoder", "wmplan.models.encoders")
PREDICTORS: Registry[Callable[..., Any]] = Registry("predictor", "wmplan.models.predictors")
TASKS: Registry[TaskEntry] = Registry("task", "wmplan.envs")
READERS: Registry[Any] = Registry("reader", "wmplan.data.readers")
EXAMS: Registry[Callable[..., Any]] = Registry("exam", "wmplan.envs")


def register_planner(name: str) -> Callable[[D], D]:
    """Make a subclass of wmplan.planning.Planner the planner `name`; its settings are its `config_class`."""

    def decorate(planner: D) -> D:
        found: Any = planner
        PLANNERS.add(name, PlannerEntry(found, found.config_class), planner)
        return planner

    return decorate


def register_objective(name: str) -> Callable[[D], D]:
    """Make `make(model, *, **settings) -> Objective`, a function or class, the objective term `name`.

    Its keyword-only parameters are the settings under objective.NAME, beside `weight`.
    """
    return OBJECTIVES.register(name)


def register_core(name: str) -> Callable[[D], D]:
    """Make `make(model, settings) -> PlanningCore`, a function or class, what schedule.core=NAME plans with.

    See wmplan.control.planning_core.
    """
    return CORES.register(name)


def register_encoder(name: str) -> Callable[[D], D]:
    """Make `make(image_size, latent_dim, *, **options) -> nn.Module`, a class or function, the encoder `name`."""
    return ENCODERS.register(name)


def register_predictor(name: str) -> Callable[[D], D]:
    """Make `make(latent_dim, action_dim, history, action_block, *, **options) -> Predictor` the predictor `name`."""
    return PREDICTORS.register(name)


def register_reader(name: str) -> Callable[[D], D]:
    """Make a class the reader `name` of recorded data."""
    return READERS.register(name)


def register_exam(name: str) -> Callable[[D], D]:
    """Make `make(image_size) -> ExamSource`, a function or class, what `wmplan physics exam=NAME` takes clips from.

    See wmplan.exam.quadruplet.
    """
    return EXAMS.register(name)


def register_task(
    name: str,
    *,
    id: str,
    symmetries: Mapping[str, Any] | None = None,
    regions: Mapping[str, Any] | None = None,
    planning: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    suite: SuitePackage | None = None,
    max_episode_steps: int | None = None,
) -> Callable[[D], D]:
    """Make what is decorated the task `name`, and register it with Gymnasium as `id`.

    Decorate a subclass of wmplan.envs.task.Task, a class of Gymnasium environments, or a function that makes an
    environment; a class with a method `environment(**options)` is asked for one.

    Args:
        id: "mine/Reach-v0"; the module of what is decorated is put before it, where none is named.
        symmetries, regions, planning, training, suite: see TaskEntry.
        max_episode_steps: robot steps after which Gymnasium's time limit ends an episode; None for no limit.
    """

    def decorate(target: D) -> D:
        import gymnasium

        module, _, own = id.rpartition(":")
        full = f"{module or target.__module__}:{own}"
        again = name in TASKS  # the same class: add() refuses another
        entry = TaskEntry(name, full, symmetries or {}, regions or {}, planning or {}, suite, training or {})
        TASKS.add(name, entry, target)
        if own in gymnasium.registry and not again:
            raise UserError(f"task {name!r}: the Gymnasium id {own!r} is taken by another environment")
        gymnasium.registry.pop(own, None)
        make = getattr(target, "environment", target)
        gymnasium.register(own, entry_point=make, max_episode_steps=max_episode_steps)
        return target

    return decorate


def task_id(name: str) -> str:
    """The Gymnasium id of a task, or what was given where it is no task's name."""
    return TASKS[name].id if name in TASKS else name


def task_key(identity: str) -> str:
    """What task=... says: the name of the task of a Gymnasium id, with its module or without, else the id itself."""
    plain = identity.rpartition(":")[2]
    return next((name for name, one in TASKS.items() if one.id.rpartition(":")[2] == plain), identity)
