"""Collects a data set with the task's exploration policy, on several processes, going on where it stopped."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from wmplan.data.environment import PlanningEnvironment
from wmplan.data.episode import episode_rng, run_episode
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.registered import Registration, make_environment
from wmplan.data.shard import Shard
from wmplan.data.shard_writer import EpisodeWriter, link_shards
from wmplan.data.store import EpisodeStore, shard_path
from wmplan.data.workers import run_jobs
from wmplan.durable import remove_leftovers
from wmplan.errors import UserError
from wmplan.settings.build import convert_fields

__all__ = ["CollectConfig", "collect", "episode_rng", "run_episode"]


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.

    Attributes:
        task: Gymnasium id, "wmplan.envs:wmplan/PushT-v0" for example.
        out: folder of the data set.
        episodes: how many. A finished data set can be made longer by asking for more.
        steps: robot steps in an episode.
        seed: of every random number; with it and the episode's number the data is determined.
        image_size: (height, width) of the frames in pixels.
        variation: give each episode a look and physics of its own.
        processes: how many work at once; None for one a core. It does not change the data.
        episodes_per_shard: episodes in a file: what a kill can cost each process.
    """

    task: str
    out: str
    episodes: int
    steps: int = 100
    seed: int = 0
    image_size: tuple[int, int] = (64, 64)
    variation: bool = False
    processes: int | None = None
    episodes_per_shard: int = 50

    def __post_init__(self) -> None:
        try:
            convert_fields(self)
        except UserError as error:
            raise DataError(str(error)) from None
        for name in ("episodes", "steps", "episodes_per_shard"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}, it has to be at least 1")
        if self.seed < 0:
            raise DataError(f"seed is {self.seed}, it has to be at least 0")
        if self.processes is not None and self.processes < 1:
            raise DataError(f"processes is {self.processes}, it has to be at least 1, or left out for one a core")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise DataError(f"image_size is {self.image_size}, it has to be (height, width) in pixels")
        if not self.out:
            raise DataError("out is empty, it has to name the folder of the data set")

    def make_environment(self) -> PlanningEnvironment:
        """The task's environment, without Gymnasium's wrappers."""
        try:
            return make_environment(self.task, {"image_size": self.image_size})
        except UserError as error:
            raise DataError(str(error)) from error


def collect(config: CollectConfig, progress: bool = True) -> EpisodeStore:
    """Collect what of the data set is not there yet.

    The shards, and with them the data, are the same whatever the number of processes and interruptions.

    Args:
        config: what to collect.
        progress: show a bar, if standard error is a terminal.

    Returns:
        The finished data set.

    Raises:
        DataError: where the folder holds another collection, or cannot be written.
        KeyboardInterrupt: at Ctrl-C; finished shards stay, the same call goes on.
    """
    folder = Path(config.out)
    env = config.make_environment()
    meta = _describe(config, env)
    env.close()
    try:
        (folder / "shards").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"out={folder} cannot be made: {error.strerror}") from None
    missing = _missing(folder, meta)
    if missing or not (folder / "meta.json").is_file():
        meta.write(folder)
    total, todo = config.episodes, sum(len(meta.shard_episodes(shard)) for shard in missing)
    registration = Registration.of(config.task)
    processes = registration.processes(min(config.processes or available_cores(), max(len(missing), 1)))
    shown = progress and sys.stderr.isatty()
    with (
        tqdm(total=total, initial=total - todo, desc="collect", unit="ep", disable=not shown) as bar,
        contextlib.closing(
            run_jobs(_Collector, (config, registration), missing, processes)
        ) as work,  # stops the workers, come what may
    ):
        for episodes in work:
            bar.update(episodes)
    store = EpisodeStore.open(folder, task=config.task)
    if missing or not (folder / "episodes.h5").is_file():
        link_shards(folder / "episodes.h5", store.paths)
    return store


def available_cores() -> int:
    """Cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Collector:
    """Collects one shard after another, with one environment."""

    def __init__(self, work: tuple[CollectConfig, Registration]) -> None:
        self.config, registration = work
        registration.register()
        self.env = self.config.make_environment()
        self.meta = _describe(self.config, self.env)

    def __call__(self, shard: int) -> Iterator[int]:
        config = self.config
        writer = EpisodeWriter(shard_path(Path(config.out), shard))
        for episode in self.meta.shard_episodes(shard):
            rng = episode_rng(config.seed, episode)
            writer.add(episode, run_episode(self.env, rng, config.steps, variation=config.variation))
            yield 1
        writer.finish()


def _describe(config: CollectConfig, env: PlanningEnvironment) -> StoreMeta:
    return StoreMeta(
        task=config.task,
        seed=config.seed,
        episodes=config.episodes,
        steps=config.steps,
        episodes_per_shard=config.episodes_per_shard,
        control_rate=float(env.control_rate),
        image_size=(config.image_size[0], config.image_size[1]),
        action_low=tuple(map(float, env.task.action_low)),
        action_high=tuple(map(float, env.task.action_high)),
        action_names=tuple(env.task.action_names),
        state_names=tuple(env.task.state_names),
        proprio_names=tuple(env.task.proprio_names),
        variation=config.variation,
        versions={name: version(name) for name in ("wmplan", "mujoco", "numpy")},
    )


def _missing(folder: Path, meta: StoreMeta) -> list[int]:
    """Shards still to collect; refuses a folder that holds something else."""
    if (folder / "meta.json").is_file():
        before = StoreMeta.read(folder)
        same = replace(before, episodes=meta.episodes, versions=meta.versions)
        for name, value in asdict(meta).items():
            if asdict(same)[name] != value:
                was = asdict(same)[name]
                raise DataError(f"{folder} holds a collection with {name}={was}, not {value}; choose another out")
        if before.episodes > meta.episodes:
            raise DataError(
                f"{folder} holds a collection of {before.episodes} episodes, not {meta.episodes}; ask for at least as "
                "many, or choose another out"
            )
    elif any(path.is_file() for path in folder.rglob("*")):
        raise DataError(f"{folder} is not empty and holds no collection; choose another out")
    remove_leftovers(folder)
    sizes = [len(meta.shard_episodes(shard)) for shard in range(meta.num_shards)]
    missing = [shard for shard, size in enumerate(sizes) if not _finished(shard_path(folder, shard), size)]
    if missing and (folder / "meta.json").is_file() and before.versions.get("mujoco") != meta.versions["mujoco"]:
        raise DataError(
            f"{folder} was begun with mujoco {before.versions.get('mujoco')}, this is {meta.versions['mujoco']}, which "
            "moves things differently; install that one or choose another out"
        )
    return missing


def _finished(path: Path, episodes: int) -> bool:
    if not path.is_file():
        return False
    try:
        shard = Shard(path)
    except DataError as error:
        print(f"collecting again what is damaged: {error}", file=sys.stderr)
        return False
    count = len(shard.lengths)
    shard.close()
    return count == episodes
