"""Where a run's figures go beside its own log and curves: TensorBoard, or Weights & Biases."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from wmplan.errors import UserError

LoggerName = Literal["none", "tensorboard", "wandb"]


class Logger(Protocol):
    """Takes the figures of a report."""

    def log(self, stage: str, row: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class NoLogger:
    """Takes no figures."""

    def log(self, stage: str, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TensorBoard:
    """Writes event files into a folder: tensorboard --logdir FOLDER shows them."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise missing("tensorboard") from None
        self.writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def log(self, stage: str, row: Mapping[str, Any]) -> None:
        """One scalar a figure, over the stage's steps."""
        for name, value in flat(row).items():
            self.writer.add_scalar(f"{stage}/{name}", value, row["step"])  # type: ignore[no-untyped-call]
        self.writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()  # type: ignore[no-untyped-call]


class WeightsAndBiases:
    """Writes to Weights & Biases, as its own variables say: with WANDB_MODE=offline into the folder alone.

    A run that goes on is the same run there.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise missing("wandb") from None
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "id"
        if not kept.exists():
            kept.write_text(uuid.uuid4().hex[:8])
        try:
            self.run = wandb.init(
                project="wmplan",
                name=name,
                id=kept.read_text().strip(),
                resume="allow",
                dir=str(folder),
                config=dict(settings),
                settings=wandb.Settings(console="off", silent=True),
            )
        except (wandb.Error, OSError) as error:
            reason = next(iter(str(error).splitlines()), "")
            raise UserError(
                f"logger=wandb cannot begin: {reason}; log in with `wandb login`, or set WANDB_MODE=offline"
            ) from error
        self.stages: set[str] = set()

    def log(self, stage: str, row: Mapping[str, Any]) -> None:
        """One line, in which each figure is over its stage's steps."""
        if stage not in self.stages:
            self.stages.add(stage)
            self.run.define_metric(f"{stage}/step")
            self.run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self.run.log({f"{stage}/{name}": value for name, value in {"step": row["step"], **flat(row)}.items()})

    def close(self) -> None:
        """Write what is left."""
        self.run.finish()


def flat(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a report by name, those in lists and tables by name/number and name/entry; without the step."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{entry}": one for entry, one in flat(value).items()}
        elif isinstance(value, list | tuple):
            found |= {f"{name}/{place}": float(one) for place, one in enumerate(value, start=1)}
        elif isinstance(value, int | float) and name != "step":
            found[name] = float(value)
    return found


def missing(package: str) -> UserError:
    """Of a logger's package that is not installed."""
    return UserError(f"logger={package} needs {package}, install it with: pip install 'wmplan[{package}]'")


def require_logger(kind: LoggerName) -> None:
    """Raise a UserError with the command that installs a logger's package, where it is not there."""
    if kind != "none" and importlib.util.find_spec(kind) is None:
        raise missing(kind)


def make_logger(kind: LoggerName, folder: Path, name: str, settings: Mapping[str, Any]) -> Logger:
    """The logger of a run.

    Args:
        folder: of the run; its files go into a folder of their own in it.
        name: of the run.
        settings: all of them, for people.

    Raises:
        UserError: where its package is not installed, or it cannot begin.
    """
    if kind == "tensorboard":
        return TensorBoard(folder / "tensorboard")
    if kind == "wandb":
        return WeightsAndBiases(folder / "wandb_runs", name, settings)
    return NoLogger()
