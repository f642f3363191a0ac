"""Old names, which work with a warning for one version."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

MOVED: dict[str, str] = {
    "wmplan.control.client": "wmplan.serving.client",
    "wmplan.control.dynamics": "wmplan.control.safety.dynamics",
    "wmplan.control.frame_history": "wmplan.control.histories",
    "wmplan.control.gate": "wmplan.control.safety.safety_filter",
    "wmplan.control.history": "wmplan.control.histories",
    "wmplan.control.limits": "wmplan.control.safety.limits",
    "wmplan.control.loop": "wmplan.control.realtime.state_machine",
    "wmplan.control.observation_guard": "wmplan.control.realtime.observation_check",
    "wmplan.control.planning_time": "wmplan.control.realtime.latency",
    "wmplan.control.preset": "wmplan.control.make",
    "wmplan.control.realtime_config": "wmplan.control.realtime.config",
    "wmplan.control.receding": "wmplan.control.schedule",
    "wmplan.control.request": "wmplan.control.backend",
    "wmplan.control.server": "wmplan.serving",
    "wmplan.control.server.access": "wmplan.serving.auth",
    "wmplan.control.server.conversation": "wmplan.serving.client_session",
    "wmplan.control.server.planning": "wmplan.serving.batcher",
    "wmplan.control.server.throttle": "wmplan.serving.rate_limit",
    "wmplan.control.statistics": "wmplan.control.realtime.telemetry",
    "wmplan.control.timeline": "wmplan.control.realtime.timeline",
    "wmplan.control.wire": "wmplan.serving.wire",
    "wmplan.control.workspace": "wmplan.control.safety.workspace",
    "wmplan.data.collect": "wmplan.data.collection",
    "wmplan.data.environment": "wmplan.environment",
    "wmplan.durable": "wmplan.atomic_io",
    "wmplan.environment_adapter": "wmplan.gym.adapter",
    "wmplan.envs.arm_reach_policy": "wmplan.envs.arm_reach",
    "wmplan.envs.pusht_policy": "wmplan.envs.pusht",
    "wmplan.evaluation.charts": "wmplan.report.charts",
    "wmplan.evaluation.demo": "wmplan.demo",
    "wmplan.evaluation.diagnose": "wmplan.diagnosis.diagnose",
    "wmplan.evaluation.diagnosis": "wmplan.diagnosis.summary",
    "wmplan.evaluation.diagnosis_html": "wmplan.report.diagnosis_section",
    "wmplan.evaluation.episodes": "wmplan.evaluation.rollout",
    "wmplan.evaluation.gallery": "wmplan.report.films",
    "wmplan.evaluation.outcome": "wmplan.diagnosis.plan_distance",
    "wmplan.evaluation.plan_picture": "wmplan.report.plan_picture",
    "wmplan.evaluation.plots": "wmplan.report.plots",
    "wmplan.evaluation.probe": "wmplan.models.state_probe",
    "wmplan.evaluation.replans": "wmplan.diagnosis.replan_analysis",
    "wmplan.evaluation.report": "wmplan.report.page",
    "wmplan.evaluation.rows": "wmplan.evaluation.policies",
    "wmplan.evaluation.runner": "wmplan.evaluation.workers",
    "wmplan.evaluation.statistics": "wmplan.evaluation.intervals",
    "wmplan.evaluation.verdict": "wmplan.diagnosis.attribution",
    "wmplan.evaluation.video": "wmplan.report.videos",
    "wmplan.freed_memory": "wmplan.malloc",
    "wmplan.headless": "wmplan.gl_backend",
    "wmplan.models.public": "wmplan.models.released",
    "wmplan.planning.base": "wmplan.planning.planner",
    "wmplan.planning.combinations": "wmplan.planning.objectives.combinations",
    "wmplan.planning.distances": "wmplan.planning.objectives.distances",
    "wmplan.planning.judge": "wmplan.planning.scoring",
    "wmplan.planning.make": "wmplan.planning.registry",
    "wmplan.planning.oracle": "wmplan.evaluation.oracle",
    "wmplan.planning.sampler": "wmplan.planning.gaussian",
    "wmplan.robot": "wmplan.robot_sim",
    "wmplan.robot_sim.environment": "wmplan.environment",
    "wmplan.settings.nearest": "wmplan.settings.suggest",
}
"""From an old module or package to its new name; what lies below a package moves with it."""

SCHEDULE: dict[str, str] = {"arrive_in": "arrival_step", "receding_horizon": "replan_every"}
"""From an old key of a schedule to its new name."""
STAGES: dict[str, str] = {"temporal": "critic", "pictures": "decoder"}
"""The same, of the stages of a TrainConfig."""
SETTINGS: dict[str, str] = {
    **{f"schedule.{old}": f"schedule.{new}" for old, new in SCHEDULE.items()},
    **STAGES,
    "options": "env",
}
"""The same, of all configuration keys; what lies below a key moves with it."""

ENVIRONMENT: dict[str, str] = {
    "advance": "step_physics",
    "advance_part": "step_substeps",
    "draw": "render",
    "knock": "perturb",
}
"""From an old method of an environment or a task to its new name."""


class _Alias(Loader):
    """Gives the new module under its old name."""

    def __init__(self, new: str) -> None:
        self.new = new
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warnings.warn(f"{spec.name} is now {self.new}; the old name goes with the next version", DeprecationWarning, 2)
        module = importlib.import_module(self.new)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the old name's there


class MovedModules(MetaPathFinder):
    """Finds a module that has moved by its old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = new_name(fullname)
        return None if new is None else ModuleSpec(fullname, _Alias(new))


def new_name(old: str) -> str | None:
    """Where a module has moved to, None for one that has not."""
    head, tail = old, ""
    while head not in MOVED:
        head, dot, last = head.rpartition(".")
        if not dot:
            return None
        tail = f".{last}{tail}"
    return MOVED[head] + tail


def install() -> None:
    """Let old names be imported; called once, by `import wmplan`."""
    if not any(isinstance(one, MovedModules) for one in sys.meta_path):
        sys.meta_path.append(MovedModules())


def renamed_methods(names: Mapping[str, str]) -> Callable[[type[T]], type[T]]:
    """A decorator: the class has its methods under their old names, too."""

    def forward(old: str, new: str) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **options: Any) -> Any:
            warnings.warn(f"{old}() is now {new}(); the old name goes with the next version", DeprecationWarning, 2)
            return getattr(self, new)(*args, **options)

        call.is_old_name = True  # type: ignore[attr-defined]
        return call

    def decorate(target: type[T]) -> type[T]:
        for old, new in names.items():
            setattr(target, old, forward(old, new))
        return target

    return decorate


def with_new_methods(target: Any, names: Mapping[str, str] = ENVIRONMENT) -> None:
    """Give an environment or a task that defines methods by their old names alone the new names, too."""
    old = [name for name in names if _is_own(target, name) and not _has(target, names[name])]
    if not old:
        return
    told = ", ".join(f"{name}() is now {names[name]}()" for name in old)
    warnings.warn(f"{type(target).__name__}: {told}; the old names go with the next version", DeprecationWarning, 3)
    for name in old:
        method = getattr(target, name)
        setattr(target, names[name], _render(target, method) if name == "draw" else method)


def _is_own(target: Any, name: str) -> bool:
    """Whether the method is the target's own, not one that `renamed_methods` gave it."""
    return hasattr(target, name) and not hasattr(getattr(target, name), "is_old_name")


def _has(target: Any, name: str) -> bool:
    """Whether the target has the method; every Gymnasium environment has a render(), which may take no size."""
    return hasattr(target, name) and (name != "render" or "size" in inspect.signature(target.render).parameters)


def _render(env: Any, draw: Callable[..., Any]) -> Callable[..., Any]:
    own = env.render

    def render(size: tuple[int, int] | None = None) -> Any:
        size = size or getattr(env, "image_size", None)
        return own() if size is None else draw(size)

    return render


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` for what was in it under other names, from the old name to "new.module.NewName"."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        warnings.warn(f"{module}.{name} is now {names[name]}", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(home), new)

    return find


def with_new_keys(settings: Mapping[str, T], names: Mapping[str, str] = SCHEDULE) -> dict[str, T]:
    """Settings as an older version wrote them, under their new names. A new name goes before an old one."""
    old = [key for key in settings if key in names]
    for key in old:
        warnings.warn(f"{key} is now {names[key]}; the old name goes with the next version", DeprecationWarning, 3)
    moved = {names[key]: settings[key] for key in old}
    return {**moved, **{key: value for key, value in settings.items() if key not in names}}


def renamed_arguments(names: Mapping[str, str]) -> Callable[[type[T]], type[T]]:
    """A decorator: the class takes keyword arguments by their old names, too."""

    def decorate(target: type[T]) -> type[T]:
        begin: Callable[..., None] = target.__init__

        @functools.wraps(begin)
        def __init__(self: T, *args: Any, **options: Any) -> None:
            begin(self, *args, **(with_new_keys(options, names) if options.keys() & names.keys() else options))

        target.__init__ = __init__  # type: ignore[method-assign, assignment]
        return target

    return decorate
