"""Collects a data set with a policy, on several processes, going on where it stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmplan.atomic_io import remove_leftovers
from wmplan.counted import counted
from wmplan.data.episode import episode_rng, run_episode
from wmplan.data.meta import DamagedError, DataError, StoreMeta
from wmplan.data.policies import EXPLORATION, CollectionPolicy, Noise
from wmplan.data.registered import Registration, make_environment
from wmplan.data.shard import Shard
from wmplan.data.shard_writer import OWN_COLUMNS, EpisodeWriter, link_shards
from wmplan.data.store import EpisodeStore, shard_path
from wmplan.data.varied_frames import chosen_looks
from wmplan.engines.choose import RayConfig, SlurmConfig, make_engine, require_engine
from wmplan.engines.work import Work
from wmplan.environment import PlanningEnvironment, packages
from wmplan.errors import UserError
from wmplan.interruption import Interrupted, Interruption
from wmplan.machine import MOST_THREADS, installed_version
from wmplan.pieces import FILE, Piece, read_piece, write_piece
from wmplan.settings.build import convert_fields
from wmplan.settings.difference import difference
from wmplan.variation import checked_choice, require_variation

SAVE_SECONDS = 20.0
"""A process saves its work at least this often: what a kill may cost, beside the episode under way."""

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
        variation: give each episode a look and physics of its own: true for every factor of variation, or names of
            some.
        strength: share of each factor's range that is drawn from, above 0 and at most 1.
        varied_frames: draw every frame a second time, in a world that looks otherwise, for the stage `appearance` of
            wmplan train: true for every factor of looks, or names of some.
        processes: how many work at once; None for one a core, or for as many as there is room for on a Ray
            cluster, or for an array of 16 Slurm jobs. It does not change the data.
        episodes_per_shard: episodes in a file.
        policy: what chooses the actions: "exploration", the environment's own, or "held" where it has none; "expert",
            its own that solves its task; "held", random actions held for a while; "noise", coloured; a user's,
            MODULE:NAME; or a model, which plans to random frames of `goals`.
        noise: of policy=noise.
        goals: data whose frames a model plans to.
        goal_steps: robot steps in which it goes for one of them.
        replan_every: robot steps between its plans, null for what its card says; as many as goal_steps to play every
            plan to its end.
        env: options of the environment: env.pixels, env.success, ... (docs/your-environment.md), and those of its own.
        shard: collect one piece alone, as 3/16, the third of sixteen; `wmplan merge` joins all of them, made anywhere.
        engine: who collects: "local", processes of this machine; "ray", workers on a Ray cluster; or "slurm", a job
            array.
        ray: which cluster, and what a worker takes of it.
        slurm: what a job asks for.
    """

    task: str
    out: str
    episodes: int = 500
    steps: int = 100
    seed: int = 0
    image_size: tuple[int, int] = (64, 64)
    variation: bool | str | tuple[str, ...] = False
    strength: float = 1.0
    varied_frames: bool | str | tuple[str, ...] = False
    processes: int | None = None
    episodes_per_shard: int = 50
    policy: str = EXPLORATION
    noise: Noise = field(default_factory=Noise)
    goals: str | None = None
    goal_steps: int = 50
    replan_every: int | None = None
    env: dict[str, Any] = field(default_factory=dict)
    shard: str | None = None
    engine: str = "local"
    ray: RayConfig = field(default_factory=RayConfig)
    slurm: SlurmConfig = field(default_factory=SlurmConfig)

    def __post_init__(self) -> None:
        try:
            convert_fields(self)
            for name in ("variation", "varied_frames"):
                object.__setattr__(self, name, checked_choice(getattr(self, name), self.strength))
        except UserError as error:
            raise DataError(str(error)) from None
        for name in ("episodes", "steps", "episodes_per_shard", "goal_steps", "replan_every"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise DataError(f"{name} must be at least 1, got {number}")
        if self.seed < 0:
            raise DataError(f"seed must be at least 0, got {self.seed}")
        if self.processes is not None and self.processes < 1:
            raise DataError(f"processes must be at least 1, or left out for one a core, got {self.processes}")
        if (self.processes or 1) > MOST_THREADS:
            raise DataError(f"processes must be at most {MOST_THREADS}, got {self.processes}")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise DataError(f"image_size must be (height, width) in pixels, got {self.image_size}")
        require_engine(self.engine)
        _ = self.piece
        if not self.out:
            raise DataError("out is empty, it has to name the folder of the data set")
        if self.collection_policy.is_play and self.goals is None:
            raise DataError(
                "policy must be exploration, expert, held, noise, MODULE:NAME or, with goals=DATA, a model, got "
                f"{self.policy!r}"
            )

    @property
    def piece(self) -> Piece | None:
        """The part of the files that is collected; None for all."""
        if self.shard is None:
            return None
        files = -(-self.episodes // self.episodes_per_shard)
        what = f"{counted(files, 'file')} of episodes_per_shard={self.episodes_per_shard}"
        try:
            return Piece.parse(self.shard, files, what)
        except UserError as error:
            raise DataError(str(error)) from None

    @property
    def collection_policy(self) -> CollectionPolicy:
        """What chooses the actions."""
        return CollectionPolicy(self.policy, self.noise, self.goals, self.goal_steps, self.replan_every)

    def make_environment(self) -> PlanningEnvironment:
        """The task's environment, without Gymnasium's wrappers."""
        try:
            return make_environment(self.task, {"image_size": self.image_size, **self.env})
        except UserError as error:
            raise DataError(str(error)) from error


def collect(config: CollectConfig, progress: bool = True) -> EpisodeStore:
    """Collect what of the data set is not there yet.

    The shards, and with them the data, are the same whatever the number of processes and interruptions.

    Args:
        config: what to collect.
        progress: show a bar, if standard error is a terminal.

    Returns:
        The finished data set; of a piece, what it holds of it.

    Raises:
        DataError: where the folder holds another collection, or cannot be written.
        Interrupted: after Ctrl-C or SIGTERM, once the episodes under way are done and saved; a second one does not
            wait for them. The same call goes on.
    """
    folder = Path(config.out)
    engine = make_engine(config.engine, config.ray, config.slurm)
    env = config.make_environment()
    meta = _describe(config, env)
    require_variation(env, config.variation, config.strength)
    chosen_looks(env, config.varied_frames, config.strength)
    env.close()
    try:
        (folder / "shards").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"out={folder} cannot be made: {error.strerror}") from None
    saved, piece = saved_episodes(folder, meta), config.piece
    _require_piece(folder, piece, sum(saved))
    wanted = [shard for shard in range(meta.num_shards) if piece is None or piece.holds(shard)]
    missing = [shard for shard in wanted if saved[shard] < len(meta.shard_episodes(shard))]
    link = folder / "episodes.h5"
    if missing or not (folder / "meta.json").is_file():
        link.unlink(missing_ok=True)  # it would show the episodes of before
        meta.write(folder)
    if piece is not None:
        write_piece(folder, "collection", piece, {})
    total = sum(len(meta.shard_episodes(shard)) for shard in wanted)
    registration = Registration.of(config.task)
    processes = engine.workers(config.processes, len(missing)) if missing else 1
    if engine.name == "local":
        processes = registration.processes(processes)
    files = {shard: str(shard_path(Path(), shard)) for shard in missing}
    work = Work(
        make_job=_Collector,
        config=(config, registration),
        in_folder=_in_folder,
        folder=folder,
        jobs=missing,
        names=files,
        continues={shard: [name] for shard, name in files.items()},
        versions=meta.versions,
    )
    shown = progress and sys.stderr.isatty()
    try:
        with (
            Interruption() as interruption,
            tqdm(total=total, initial=sum(saved), desc="collect", unit="ep", disable=not shown) as bar,
            contextlib.closing(engine.run(work, processes)) as collected,
        ):
            for episodes in collected if missing else ():
                bar.update(episodes)
                if interruption.signal:
                    raise Interrupted("", interruption.signal)
    except KeyboardInterrupt as stop:
        there = f"{sum(saved_episodes(folder, meta))} of {total} episodes are saved in {folder}"
        number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
        raise Interrupted(f"{there}; the same command goes on from there", number) from None
    store = EpisodeStore.open(folder, task=config.task, partial=piece is not None)
    if piece is None and not link.is_file():
        link_shards(link, store.paths)
    return store


def _require_piece(folder: Path, piece: Piece | None, saved: int) -> None:
    """Check that a folder which holds episodes holds them of what was asked for: of the whole, or of this piece."""
    before = read_piece(folder)["shard"] if (folder / FILE).is_file() else None
    if saved and before != (None if piece is None else str(piece)):
        held = "a whole collection" if before is None else f"piece {before} of a collection"
        asked = "the whole" if piece is None else f"shard={piece}"
        raise DataError(f"{folder} holds {held}, {asked} was asked for: give another out=DIR")


def _in_folder(work: tuple[CollectConfig, Registration], folder: Path) -> tuple[CollectConfig, Registration]:
    (folder / "shards").mkdir(exist_ok=True)
    return replace(work[0], out=str(folder)), work[1]


class _Collector:
    """Collects one shard after another, with one environment."""

    def __init__(self, work: tuple[CollectConfig, Registration]) -> None:
        self.config, registration = work
        registration.register()
        self.env = self.config.make_environment()
        self.meta = _describe(self.config, self.env)

    def __call__(self, shard: int) -> Generator[int, None, None]:
        config, episodes = self.config, self.meta.shard_episodes(shard)
        writer = _writer(shard_path(Path(config.out), shard), episodes)
        saved = time.monotonic()
        for episode in episodes[len(writer.lengths) :]:
            rng = episode_rng(config.seed, episode)
            policy = config.collection_policy
            worlds: dict[str, Any] = {"variation": config.variation, "strength": config.strength}
            worlds |= {"second_look": config.varied_frames}
            writer.add(episode, run_episode(self.env, rng, config.steps, policy=policy, **worlds))
            if time.monotonic() - saved >= SAVE_SECONDS:
                writer.save()
                saved = time.monotonic()
            try:
                yield 1
            except GeneratorExit:  # told to stop, between two episodes
                writer.save()
                raise
        writer.save()


def _writer(path: Path, episodes: range) -> EpisodeWriter:
    """A writer of a shard, with the episodes that an earlier run saved in it, if they are what was written."""
    writer = EpisodeWriter(path)
    if not path.is_file():
        return writer
    try:
        with contextlib.closing(Shard(path)) as shard:
            shard.require_episodes(episodes)
            for episode, first, rows in zip(episodes, shard.offsets, shard.lengths, strict=False):
                names = shard.columns.keys() - OWN_COLUMNS
                writer.add(episode, {name: shard.read(name, first, first + rows) for name in names})
    except DamagedError as error:
        print(f"collecting again what is damaged: {error}", file=sys.stderr)
        return EpisodeWriter(path)
    return writer


def _describe(config: CollectConfig, env: PlanningEnvironment) -> StoreMeta:
    return StoreMeta(
        task=config.task,
        seed=config.seed,
        episodes=config.episodes,
        steps=config.steps,
        episodes_per_shard=config.episodes_per_shard,
        control_rate=float(env.control_rate),
        image_size=(env.image_size[0], env.image_size[1]),
        action_low=tuple(map(float, env.task.action_low)),
        action_high=tuple(map(float, env.task.action_high)),
        action_names=tuple(env.task.action_names),
        state_names=tuple(env.task.state_names),
        proprio_names=tuple(env.task.proprio_names),
        variation=checked_choice(config.variation, config.strength),
        varied_frames=checked_choice(config.varied_frames, config.strength),
        strength=config.strength if config.variation or config.varied_frames else 1.0,
        policy=config.policy,
        policy_options=config.collection_policy.as_dict(),
        environment=dict(config.env),
        versions={name: installed_version(name) for name in ("wmplan", "mujoco", "numpy", *packages(env))},
    )


def saved_episodes(folder: Path, meta: StoreMeta) -> list[int]:
    """How many episodes of each file are there.

    Raises:
        DataError: if the folder holds something else.
    """
    before = StoreMeta.read(folder) if (folder / "meta.json").is_file() else None
    if before is not None and not any((folder / "shards").glob("*.h5")):
        before = meta  # nothing is there that could be lost
    if before is not None:
        old, new = (json.loads(json.dumps(asdict(one))) for one in (before, meta))
        if other := difference(old, new, "a collection", ignore=("episodes", "versions")):
            raise DataError(f"{folder} holds {other}: give another out=DIR, or delete {folder} to begin anew")
        if before.episodes > meta.episodes:
            raise DataError(
                f"{folder} holds a collection of {before.episodes} episodes, not {meta.episodes}; ask for at least as "
                "many, or choose another out"
            )
    elif any(path.is_file() for path in folder.rglob("*")):
        raise DataError(f"{folder} is not empty and holds no collection; choose another out")
    remove_leftovers(folder)
    saved = [episodes_in(shard_path(folder, shard), meta.shard_episodes(shard)) for shard in range(meta.num_shards)]
    missing = sum(saved) < meta.episodes
    if missing and before is not None:
        _require_same_physics(folder, before, meta)
    return saved


def _require_same_physics(folder: Path, before: StoreMeta, now: StoreMeta) -> None:
    for name, version_now in now.versions.items():
        if name not in ("wmplan", "numpy") and before.versions.get(name) != version_now:
            raise DataError(
                f"{folder} was begun with {name} {before.versions.get(name)}, this is {version_now}, which moves "
                "things differently; install that one or choose another out"
            )


def episodes_in(path: Path, wanted: range) -> int:
    """How many of the wanted episodes a shard holds, from the first on; none where it is damaged."""
    if not path.is_file():
        return 0
    try:
        with contextlib.closing(Shard(path)) as shard:
            shard.require_episodes(wanted)
            return len(shard.lengths)
    except DamagedError:
        return 0  # told when it is collected again
