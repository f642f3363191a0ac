"""One worker of an evaluation: it has an environment and the players of the rows, and plays one unit after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmplan.control.make import make_controller
from wmplan.control.schedule import Schedule
from wmplan.data.registered import make_environment
from wmplan.deprecated import with_new_keys
from wmplan.evaluation.instances import Instance
from wmplan.evaluation.journal import Key
from wmplan.evaluation.policies import NoopRow, OracleRow, PlannerRow, RandomRow, ReplayRow, Row
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.rollout import judge, play, save_episode
from wmplan.evaluation.success import rule_names
from wmplan.models.base import WorldModel
from wmplan.models.loading import load
from wmplan.pieces import Piece
from wmplan.planning.registry import make_planner
from wmplan.random_streams import Stream
from wmplan.settings.build import build


@dataclass(frozen=True)
class Setup:
    """All that an episode's outcome depends on, but for the instance and the seeds.

    Attributes:
        task: Gymnasium id.
        environment: options of the environment.
        model: name or path, or the model itself; None where no row needs one.
        device: for the model; None for what the machine has.
        planner, objective, schedule: as planning_settings() gives them.
        action_block: robot steps in one step of the oracle's plans.
        dtype: what the model's rollouts multiply in.
    """

    task: str
    environment: dict[str, Any]
    model: str | Path | WorldModel | None
    device: str | None
    planner: dict[str, Any]
    objective: dict[str, Any]
    schedule: dict[str, Any]
    action_block: int
    protocol: Protocol
    seed: int
    folder: Path
    dtype: str = "float32"


@dataclass(frozen=True)
class Unit:
    """One episode to play."""

    row: str
    planner_seed: int
    instance: int

    @property
    def key(self) -> Key:
        """What its record is filed under."""
        return self.row, self.planner_seed, self.instance

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.row}-{self.planner_seed}-{self.instance:04d}"


def units_of(rows: Mapping[str, int], episodes: int, piece: Piece | None = None) -> list[Unit]:
    """All episodes of an evaluation, or of a piece of it, in the order in which they are played.

    Args:
        rows: random streams of each row, in the order of the rows.
        episodes: instances.
    """
    units = [Unit(row, one, i) for row, streams in rows.items() for one in range(streams) for i in range(episodes)]
    return [unit for unit in units if piece is None or piece.holds(unit.instance + unit.planner_seed)]


def load_model(setup: Setup) -> WorldModel | None:
    """The setup's model."""
    if setup.model is None or isinstance(setup.model, WorldModel):
        return setup.model
    model = load(setup.model, setup.device)
    model.compute_in(getattr(torch, setup.dtype))
    return model


def unit_seed(seed: int, unit: Unit) -> int:
    """The seed of one episode's planner, which depends on nothing but its numbers."""
    sequence = np.random.SeedSequence(seed, spawn_key=(Stream.PLAYING, unit.instance, unit.planner_seed))
    return int(sequence.generate_state(1)[0])


class Worker:
    """Plays units; what they give does not depend on which were played before, or by whom."""

    def __init__(self, setup: Setup, instances: Sequence[Instance]) -> None:
        torch.set_num_threads(1)
        self.setup, self.instances = setup, instances
        self.env = make_environment(setup.task, setup.environment)
        self.decided_by = setup.protocol.decided_by(rule_names(self.env))
        self.rows: dict[str, Row] = {}

    def __call__(self, unit: Unit) -> dict[str, Any]:
        """Play a unit, save the episode and give its record."""
        instance = self.instances[unit.instance]
        file = f"episodes/{unit.name}.npz"
        row = self.row(unit.row)
        protocol = self.setup.protocol
        episode = play(self.env, instance, row, unit_seed(self.setup.seed, unit), protocol.steps)
        save_episode(self.setup.folder / file, episode)
        names = {"instance": unit.instance, "row": unit.row, "planner_seed": unit.planner_seed}
        solved = {"solved": True} if instance.solved else {}
        return {**names, **judge(self.env, episode, self.decided_by, protocol.read_every), **solved, "file": file}

    def row(self, name: str) -> Row:
        """The player of a row, warmed up where it plans: the first plan of a process is slow."""
        if name not in self.rows:
            self.rows[name] = row = self.make_row(name)
            if name in ("planner", "oracle"):
                play(self.env, self.instances[0], row, 0, budget=1)
        return self.rows[name]

    def make_row(self, name: str) -> Row:
        """A new player of a row."""
        setup = self.setup
        if name == "planner":
            model = load_model(setup)
            assert model is not None, "the planner row needs a model"
            controller = make_controller(model, setup.planner, setup.objective, setup.schedule)
            return PlannerRow(controller, setup.protocol)
        if name == "oracle":
            task, block = self.env.task, setup.action_block
            low, high = (np.tile(bound, block).tolist() for bound in (task.action_low, task.action_high))
            planner = make_planner(low=low, high=high, action_block=block, **setup.planner)
            schedule = build(Schedule, with_new_keys(setup.schedule), "schedule")
            return OracleRow(planner, schedule, block)
        return {"noop": NoopRow, "random": RandomRow, "replay": ReplayRow}[name]()

    def close(self) -> None:
        """Free the environment."""
        self.env.close()
