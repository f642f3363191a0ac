"""Engines by name."""

from __future__ import annotations

from wmplan.engines.local import LocalEngine
from wmplan.engines.ray_cluster import RayConfig, RayEngine
from wmplan.engines.slurm import SlurmConfig, SlurmEngine
from wmplan.engines.work import Engine
from wmplan.errors import UserError

__all__ = ["ENGINES", "RayConfig", "SlurmConfig", "make_engine", "require_engine"]

ENGINES = ("local", "ray", "slurm")


def require_engine(name: str) -> None:
    """Raise a UserError unless there is an engine of this name."""
    if name not in ENGINES:
        raise UserError(f"engine must be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, got {name!r}")


def make_engine(name: str, ray: RayConfig | None = None, slurm: SlurmConfig | None = None) -> Engine:
    """The engine of a name, with the settings of its own.

    Raises:
        UserError: if there is none of that name, or it needs a package that is not installed.
    """
    require_engine(name)
    if name == "local":
        return LocalEngine()
    if name == "ray":
        return RayEngine(ray or RayConfig())
    return SlurmEngine(slurm or SlurmConfig())
