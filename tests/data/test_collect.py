from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from wmplan.data.collection import CollectConfig, _describe, collect, run_episode
from wmplan.data.episode import episode_rng
from wmplan.data.meta import DataError, StoreMeta
from wmplan.data.store import EpisodeStore
from wmplan.errors import UserError
from wmplan.random_streams import Stream

TASK = "wmplan.envs:wmplan/PushT-v0"
EPISODES, STEPS, PER_SHARD = 10, 8, 2
LONG = 300  # steps


def small(folder: Path, **changes: object) -> CollectConfig:
    config = CollectConfig(TASK, str(folder), EPISODES, STEPS, 3, (16, 16), processes=1, episodes_per_shard=PER_SHARD)
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return collect(small(tmp_path_factory.mktemp("reference") / "data"))


def assert_same(store: EpisodeStore, reference: EpisodeStore) -> None:
    assert store.columns == reference.columns
    for name in reference.columns:
        assert store.column(name).tobytes() == reference.column(name).tobytes(), name


def test_layout(reference: EpisodeStore) -> None:
    assert reference.lengths.tolist() == [STEPS + 1] * EPISODES
    assert {name: shape for name, (shape, _) in reference.columns.items()} == {
        "pixels": (16, 16, 3),
        "action": (2,),
        "proprio": (2,),
        "state": (5,),
        "physics_state": reference.columns["physics_state"][0],
        "episode_idx": (),
        "step_idx": (),
    }
    actions = reference.column("action").reshape(EPISODES, STEPS + 1, 2)
    assert np.isnan(actions[:, -1]).all()
    assert np.isfinite(actions[:, :-1]).all()
    assert np.abs(actions[:, :-1]).max() <= np.float32(0.2)
    assert len(np.unique(reference.column("state").reshape(EPISODES, -1), axis=0)) == EPISODES
    meta = json.loads((reference.paths[0].parent.parent / "meta.json").read_text())
    assert (meta["task"], meta["seed"], meta["episodes"], meta["steps"]) == (TASK, 3, EPISODES, STEPS)
    assert meta["control_rate"] == pytest.approx(10.0)


def test_the_simulator_repeats_what_was_recorded(reference: EpisodeStore) -> None:
    env = small(Path("unused")).make_environment()
    rows = reference.episode(4)
    env.reset(seed=0)
    env.set_state(rows["physics_state"][0])
    for step in range(STEPS + 1):
        np.testing.assert_array_equal(env.get_state(), rows["physics_state"][step])
        np.testing.assert_array_equal(env.render((16, 16)), rows["pixels"][step])
        np.testing.assert_array_equal(env.observe()["proprio"], rows["proprio"][step])
        np.testing.assert_array_equal(env.task_state().astype(np.float32), rows["state"][step])
        if step < STEPS:
            env.step_physics(rows["action"][step])
    env.close()


@pytest.mark.slow
def test_the_data_is_the_same_from_any_number_of_processes(reference: EpisodeStore, tmp_path: Path) -> None:
    assert_same(collect(small(tmp_path / "data", processes=3)), reference)


def test_the_data_is_the_seeds(reference: EpisodeStore, tmp_path: Path) -> None:
    other = collect(small(tmp_path / "data", seed=4, episodes=2))
    assert not np.array_equal(other.column("state"), reference.column("state", range(2)))


def test_longer_collections_begin_with_shorter_ones(reference: EpisodeStore, tmp_path: Path) -> None:
    collect(small(tmp_path / "data", episodes=5))
    assert_same(collect(small(tmp_path / "data")), reference)


def test_a_finished_collection_is_left_alone(reference: EpisodeStore) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.paths[0].parent.parent.rglob("*")}
    collect(small(reference.paths[0].parent.parent))
    assert {path: path.stat().st_mtime_ns for path in reference.paths[0].parent.parent.rglob("*")} == before


def test_variation_is_recorded_and_can_be_restored(tmp_path: Path) -> None:
    config = small(tmp_path / "data", episodes=2, variation=True)
    store = collect(config)
    env = config.make_environment()
    for index in range(2):
        rows = store.episode(index)
        factors = {name.removeprefix("variation."): rows[name] for name in rows if name.startswith("variation.")}
        assert set(factors) >= {"light", "friction", "mass"}
        for values in factors.values():
            np.testing.assert_array_equal(values, np.broadcast_to(values[0], values.shape))
        options = {"state": rows["physics_state"][0], "variation": {name: v[0] for name, v in factors.items()}}
        env.reset(seed=0, options=options)
        np.testing.assert_array_equal(env.render((16, 16)), rows["pixels"][0])
        env.step_physics(rows["action"][0])
        np.testing.assert_array_equal(env.get_state(), rows["physics_state"][1])
    assert not np.array_equal(store.episode(0)["variation.light"], store.episode(1)["variation.light"])
    env.close()


# ---------------------------------------------------------------------- interruptions

SCRIPT = f"""
import sys
import wmplan.data.collection
from wmplan.data.collection import CollectConfig, collect
out, processes, steps, per_shard, wmplan.data.collection.SAVE_SECONDS = map(eval, sys.argv[1:])
if __name__ == "__main__":
    try:
        collect(CollectConfig(
            {TASK!r}, out, {EPISODES}, steps, 3, (16, 16), processes=processes, episodes_per_shard=per_shard
        ))
    except KeyboardInterrupt as stop:
        print(stop)
        sys.exit(128 + stop.signal)
"""


@contextlib.contextmanager
def collecting(
    tmp_path: Path, processes: int, steps: int = STEPS, per_shard: int = PER_SHARD, save_seconds: float = 1000.0
) -> Iterator[subprocess.Popen[str]]:
    """The small collection in a process group of its own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = map(repr, (str(tmp_path / "data"), processes, steps, per_shard, save_seconds))
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for_shards(tmp_path: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while len(list((tmp_path / "data" / "shards").glob("*.h5"))) < count and process.poll() is None:
        assert time.monotonic() < until, "the collection does not get on"
        time.sleep(0.002)


def wait_until_gone(group: int) -> None:
    """Wait for the last process of a group to end; one that only its parent has not collected yet counts as gone."""
    until = time.monotonic() + 300
    while True:
        alive = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, member_of = stat.read_text().rpartition(")")[2].split()[:3]
                if int(member_of) == group and state != "Z":
                    alive.append(stat.parent.name)
        if not alive:
            return
        assert time.monotonic() < until, f"processes {alive} are still there"
        time.sleep(0.02)


def test_varied_frames_show_the_same_states_otherwise_and_change_nothing_else(
    reference: EpisodeStore, tmp_path: Path
) -> None:
    config = small(tmp_path / "two", varied_frames=("hue", "image_noise"), episodes=4)
    store, frames = collect(config), reference.column("pixels", range(4))
    for name in ("pixels", "action", "physics_state"):
        assert store.column(name).tobytes() == reference.column(name, range(4)).tobytes()
    varied = store.column("pixels_varied")
    same = [np.array_equal(*pair) for pair in zip(frames, varied, strict=True)]
    assert varied.shape == frames.shape and not all(same)
    hue = collect(small(tmp_path / "hue", varied_frames="hue", episodes=4)).column("pixels_varied").astype(float)
    for episode in range(4):
        rows = slice(episode * (STEPS + 1), (episode + 1) * (STEPS + 1))
        shift = hue[rows] - frames[rows]
        assert np.ptp(np.median(shift, (1, 2)), axis=0).max() <= 2  # the background's, the same in every frame
    assert StoreMeta.read(tmp_path / "two").varied_frames == ("hue", "image_noise")


@pytest.mark.parametrize(
    ("choice", "said"),
    [("friction", "changes no frame"), ("fog", "no factor of variation 'fog'"), (True, "variation|pygame")],
)
def test_varied_frames_that_cannot_be_drawn_are_refused(tmp_path: Path, choice: object, said: str) -> None:
    task = "Pendulum-v1" if choice is True else TASK
    with pytest.raises(UserError, match=said):
        collect(small(tmp_path / "data", task=task, varied_frames=choice))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_kill_9_at_any_moment_loses_no_finished_shard(reference: EpisodeStore, tmp_path: Path, processes: int) -> None:
    rng = random.Random(processes)
    shards = tmp_path / "data" / "shards"
    for count in (1, 2, 3):
        with collecting(tmp_path, processes) as process:
            wait_for_shards(tmp_path, count, process)
            time.sleep(rng.uniform(0, 0.05))
            process.kill()  # the parent alone: its workers have to notice
            process.wait()
            kept = {path.name: path.read_bytes() for path in shards.glob("*.h5")}
        for path in kept:
            assert (shards / path).read_bytes() == kept[path]
        assert len(kept) >= count
    store = collect(small(tmp_path / "data"))
    assert_same(store, reference)
    assert not list((tmp_path / "data").rglob(".*"))


def test_an_interrupted_collection_is_no_data_set_yet(reference: EpisodeStore, tmp_path: Path) -> None:
    store = collect(small(tmp_path / "data"))
    store.paths[1].unlink()
    with pytest.raises(DataError, match="4 of 5 shards; run the same collect command again"):
        EpisodeStore.open(tmp_path / "data")
    assert_same(collect(small(tmp_path / "data")), reference)


def saved_episodes(folder: Path) -> int:
    """Episodes in an unfinished collection."""
    with contextlib.closing(EpisodeStore.open(folder, partial=True)) as store:
        return len(store)


def shard_bytes(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "shards").iterdir())]


@pytest.fixture(scope="module")
def in_one_shard(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """The collection in a single file, so that every save is of an unfinished shard."""
    return collect(small(tmp_path_factory.mktemp("one") / "data", episodes_per_shard=EPISODES))


@pytest.fixture(scope="module")
def long_reference(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """A collection that is not done before a signal comes."""
    return collect(small(tmp_path_factory.mktemp("long") / "data", steps=LONG))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_stops_every_process_and_what_is_done_is_saved_and_told(
    long_reference: EpisodeStore, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    with collecting(tmp_path, processes, LONG) as process:
        wait_for_shards(tmp_path, 1, process)
        os.killpg(process.pid, number)
        said, errors = process.communicate(timeout=300)
        assert (process.returncode, errors) == (128 + number, "")
        wait_until_gone(process.pid)
    saved = saved_episodes(tmp_path / "data")
    assert PER_SHARD < saved <= EPISODES
    there = f"{saved} of {EPISODES} episodes are saved in {tmp_path / 'data'}"
    assert said == f"{there}; the same command goes on from there\n"
    assert_same(collect(small(tmp_path / "data", steps=LONG)), long_reference)
    assert shard_bytes(tmp_path / "data") == shard_bytes(long_reference.paths[0].parent.parent)


@pytest.mark.slow
def test_kill_9_costs_what_was_not_saved_by_time(in_one_shard: EpisodeStore, tmp_path: Path) -> None:
    rng, before = random.Random(0), 0
    shard = tmp_path / "data" / "shards" / "00000.h5"
    for _ in range(4):
        with collecting(tmp_path, 1, per_shard=EPISODES, save_seconds=0) as process:
            wait_for_shards(tmp_path, 1, process)
            first, until = shard.stat().st_ino, time.monotonic() + 300
            while before and shard.stat().st_ino == first and process.poll() is None and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.02))
            process.kill()
        saved = saved_episodes(tmp_path / "data")
        assert saved > before or saved == EPISODES
        before = saved
    store = collect(small(tmp_path / "data", episodes_per_shard=EPISODES))
    assert_same(store, in_one_shard)
    assert store.paths[0].read_bytes() == in_one_shard.paths[0].read_bytes()


def test_only_what_is_not_saved_is_collected(
    in_one_shard: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an interruption, and by making a collection longer whose last shard has room."""
    collected: list[int] = []

    def counted(seed: int, episode: int) -> np.random.Generator:
        collected.append(episode)
        return episode_rng(seed, episode)

    monkeypatch.setattr("wmplan.data.collection.episode_rng", counted)
    for episodes in (3, 4, EPISODES):
        store = collect(small(tmp_path / "data", episodes=episodes, episodes_per_shard=EPISODES))
        assert len(store) == episodes
        assert len(EpisodeStore.open(tmp_path / "data" / "episodes.h5")) == episodes
    assert collected == list(range(EPISODES))
    assert store.paths[0].read_bytes() == in_one_shard.paths[0].read_bytes()


def test_saving_by_time_leaves_the_same_file(
    in_one_shard: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmplan.data.collection.SAVE_SECONDS", 0.0)
    store = collect(small(tmp_path / "data", episodes_per_shard=EPISODES))
    assert store.paths[0].read_bytes() == in_one_shard.paths[0].read_bytes()


def test_an_unfinished_shard_that_is_damaged_is_collected_again(
    in_one_shard: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(collect(small(tmp_path / "data", episodes=4, episodes_per_shard=EPISODES))) as store:
        path = store.paths[0]
    with h5py.File(path) as file:
        where = file["physics_state"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 40] ^= 0xFF
    path.unlink()
    path.write_bytes(content)
    store = collect(small(tmp_path / "data", episodes_per_shard=EPISODES))
    assert "collecting again what is damaged: " in capsys.readouterr().err
    assert store.paths[0].read_bytes() == in_one_shard.paths[0].read_bytes()


def test_a_shard_that_another_program_writes_is_not_collected_again(tmp_path: Path) -> None:
    store = collect(small(tmp_path / "data"))
    store.close()
    before = store.paths[1].read_bytes()
    with h5py.File(store.paths[1], "a"), collecting(tmp_path, 1) as process:
        _, errors = process.communicate(timeout=300)
    assert f"{store.paths[1]} is locked: another program has it open for writing" in errors
    assert store.paths[1].read_bytes() == before


def test_a_damaged_shard_is_collected_again(
    reference: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = collect(small(tmp_path / "data"))
    store.close()
    store.paths[2].write_bytes(store.paths[2].read_bytes()[:1000])
    assert_same(collect(small(tmp_path / "data")), reference)
    told = capsys.readouterr().err
    assert "00002.h5 is cut short" in told and len(told.splitlines()) == 1


def test_a_full_disk_gets_one_line_and_loses_no_finished_shard(reference: EpisodeStore, tmp_path: Path) -> None:
    first = collect(small(tmp_path / "data", episodes=PER_SHARD)).paths[0]
    content, limit = first.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limit[1]))  # the kernel refuses larger files
    try:
        with pytest.raises(DataError, match=r"could not write .*00001\.h5 .*: .*, so make room and run") as caught:
            collect(small(tmp_path / "data"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(caught.value)
    assert first.read_bytes() == content
    assert [path.name for path in first.parent.iterdir()] == ["00000.h5"]
    assert_same(collect(small(tmp_path / "data")), reference)


def test_a_disk_that_is_full_when_work_is_saved_by_time_loses_no_saved_episode(
    in_one_shard: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmplan.data.collection.SAVE_SECONDS", 0.0)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = in_one_shard.paths[0].stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 3 // 4, limit[1]))
    try:
        with pytest.raises(DataError, match=r"could not write .*00000\.h5 .*: .*, so make room and run") as caught:
            collect(small(tmp_path / "data", episodes_per_shard=EPISODES))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(caught.value)
    assert 0 < saved_episodes(tmp_path / "data") < EPISODES
    store = collect(small(tmp_path / "data", episodes_per_shard=EPISODES))
    assert store.paths[0].read_bytes() == in_one_shard.paths[0].read_bytes()


@pytest.mark.slow
def test_a_worker_that_the_system_kills_is_one_line_and_costs_no_saved_episode(tmp_path: Path) -> None:
    out = tmp_path / "data"
    settings = ["task=pusht", f"out={out}", "episodes=20", f"steps={LONG}", "image_size=[16,16]", "processes=2"]
    command = [sys.executable, "-m", "wmplan.cli", "collect", *settings, "episodes_per_shard=2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_for_shards(tmp_path, 1, process)
        os.kill(a_worker_of(process.pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 2
    assert errors == (
        "wmplan collect: a worker process ended unexpectedly (exit code -9), as when memory runs out: fewer processes "
        "need less; run again to go on\n"
    )
    assert saved_episodes(out) >= 2


def a_worker_of(process: int) -> int:
    """A worker process, told from multiprocessing's other helpers by its command line."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return next(int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


# ---------------------------------------------------------------------- mistakes


def test_another_collection_is_not_mixed_in(reference: EpisodeStore) -> None:
    folder = reference.paths[0].parent.parent
    for change, message in (
        ({"seed": 9}, "a collection with seed=3, this one has 9: give another out=DIR, or delete .* to begin anew"),
        ({"steps": 9}, "steps=8, this one has 9"),
        ({"image_size": (32, 32)}, "image_size="),
        ({"episodes": 4}, "10 episodes, not 4"),
        ({"variation": True}, "variation=false, this one has true"),
        ({"task": "wmplan.envs:wmplan/ArmReach-v0"}, "task="),
    ):
        with pytest.raises(DataError, match=message):
            collect(small(folder, **change))


def test_a_collection_of_which_nothing_was_saved_binds_nobody(tmp_path: Path) -> None:
    first, second = small(tmp_path, seed=9), small(tmp_path, seed=3, episodes=2)
    (tmp_path / "shards").mkdir()
    _describe(first, first.make_environment()).write(tmp_path)
    assert collect(second).meta.seed == 3
    with pytest.raises(DataError, match="seed=3, this one has 9"):
        collect(first)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="is not empty and holds no collection"):
        collect(small(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        collect(small(tmp_path / "file"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"steps": -1}, "steps must be at least 1, got -1"),
        ({"seed": -2}, "seed must be at least 0, got -2"),
        ({"processes": 0}, "processes must be at least 1, or left out for one a core, got 0"),
        ({"image_size": (64,)}, r"image_size must be a list \[a whole number, a whole number\], got \[64\]"),
        ({"out": ""}, "out is empty"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        small(tmp_path, **change)


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    for task in ("wmplan.envs:wmplan/PushU-v0", "no_such_module:X-v0"):
        with pytest.raises(DataError, match=f"task '{task}' cannot be made"):
            collect(small(tmp_path / "data", task=task))
    assert not (tmp_path / "data").exists()


# ---------------------------------------------------------------------- one episode


def test_episode_generators_differ_by_seed_episode_and_stream() -> None:
    draws = {
        episode_rng(seed, episode, stream).integers(2**62)
        for seed in range(3)
        for episode in range(5)
        for stream in (Stream.COLLECTION, Stream.EVALUATION)
    }
    assert len(draws) == 3 * 5 * 2
    assert episode_rng(1, 2).integers(2**62) == episode_rng(1, 2, Stream.COLLECTION).integers(2**62)


def test_an_episode_without_pictures_is_the_same_episode() -> None:
    env = small(Path("unused")).make_environment()
    drawn, blind = (run_episode(env, episode_rng(0, 7), 5, pixels=pixels) for pixels in (True, False))
    assert drawn.pop("pixels").shape == (6, 16, 16, 3)
    assert drawn.keys() == blind.keys()
    for name, values in drawn.items():
        np.testing.assert_array_equal(values, blind[name])
    env.close()
