"""A Ray cluster of two nodes gives what this process gives, also where a node is killed under the work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wmplan.data.collection import CollectConfig, collect
from wmplan.engines.ray_cluster import RayConfig
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate, load_results

WORLDS = str(Path(__file__).parents[1] / "evaluation")
NICENESS = {"RAY_worker_niceness": "0"}  # else Ray's workers give way to all other programs, for minutes if need be
PROTOCOL = Protocol(offset=20, budget=30, episode_steps=40)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ.update(NICENESS)
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    yield cluster
    cluster.shutdown()
    for name in NICENESS:
        del os.environ[name]


def play(out: Path, **changes: Any) -> dict[str, Any]:
    sys.path.insert(0, WORLDS)
    try:
        from point_world import TASK, PointWorld

        planner = {"name": "cem", "num_samples": 8, "num_iterations": 1, "num_elites": 2, "horizon": 2}
        settings: dict[str, Any] = {"rows": ["planner", "replay"], "episodes": 6, "workers": 1, "planner_seeds": 2}
        return evaluate(PointWorld(), TASK, out, planner=planner, protocol=PROTOCOL, **(settings | changes))
    finally:
        sys.path.remove(WORLDS)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(result))
    del plain["machine"], plain["date"]
    for one in [*plain["rows"].values(), *plain["per_episode"]]:
        del one["plan_ms"]
    return plain


@pytest.mark.slow
def test_two_nodes_of_which_one_is_killed_give_what_one_process_gives(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    seen: list[Any] = []

    def kill(record: Any) -> None:
        seen.append(record)
        if len(seen) == 5:
            cluster.remove_node(second, allow_graceful=False)

    ray = RayConfig(address=cluster.address)
    far = play(tmp_path / "far", engine="ray", ray=ray, workers=2, on_episode=kill)
    assert len(seen) == len(far["per_episode"]) == 18  # nothing is done twice
    assert far["machine"]["workers"] == 2
    here = play(tmp_path / "here")
    assert without_times(load_results(tmp_path / "far")) == without_times(here)
    for name in ("planner-0-0000", "planner-1-0005", "replay-0-0003"):
        assert (tmp_path / "far" / "episodes" / f"{name}.npz").is_file()


@pytest.mark.slow
def test_a_collection_on_ray_is_the_same_to_the_byte(cluster: Any, tmp_path: Path) -> None:
    ray, shape = RayConfig(address=cluster.address), (16, 16)
    task = "wmplan.envs:wmplan/PushT-v0"
    far = CollectConfig(task, str(tmp_path / "far"), 3, 4, 3, shape, episodes_per_shard=2, engine="ray", ray=ray)
    here = CollectConfig(task, str(tmp_path / "here"), 3, 4, 3, shape, episodes_per_shard=2, processes=1)
    for there, local in zip(collect(far).paths, collect(here).paths, strict=True):
        assert there.read_bytes() == local.read_bytes()


@pytest.mark.slow
def test_what_a_worker_raises_is_raised_here(cluster: Any, tmp_path: Path) -> None:
    from wmplan.engines.ray_cluster import RayEngine
    from wmplan.engines.work import Work

    def fail(config: Any) -> Any:
        def job(number: int) -> Iterator[int]:
            if config == "versions":
                yield 1
            raise UserError("number two") if number == 2 else ArithmeticError("number one")

        return job

    def run(config: str, number: int, **changes: Any) -> None:
        work: Any = Work(fail, config, lambda config, folder: config, tmp_path, [number], {number: "one"}, **changes)
        list(RayEngine(RayConfig(address=cluster.address)).run(work, 1))

    with pytest.raises(UserError, match="number two"):
        run("", 2)
    with pytest.raises(ArithmeticError, match="number one"):
        run("", 1)
    with pytest.raises(UserError, match=r"has torch .*, this machine 0\.1: install the same on all machines"):
        run("versions", 2, versions={"torch": "0.1"})


@pytest.mark.slow
def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=r"no Ray cluster answers at ray\.address=127\.0\.0\.1:9"):
        play(tmp_path, engine="ray", ray=RayConfig(address="127.0.0.1:9"))
    with pytest.raises(UserError, match="ray.address must be HOST:PORT or auto, got 'nowhere'"):
        play(tmp_path, engine="ray", ray=RayConfig(address="nowhere"))


def test_without_ray_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"engine=ray needs an extra: pip install 'wmplan\[ray\]'"):
        play(tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


def test_engines_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="engine must be local, ray or slurm, got 'dask'"):
        play(tmp_path, engine="dask")
    with pytest.raises(UserError, match=r"ray\.cpus must be above 0, got 0\.0"):
        RayConfig(cpus=0)
