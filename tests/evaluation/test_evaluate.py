"""A whole evaluation: its files, its rows, and that neither workers nor a kill change what comes out."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, compare, draw_frames, draw_goal, evaluate, load_episode, load_results
from wmplan.evaluation.instances import load_instances

HERE = Path(__file__).parent
TASK = "wmplan.envs:wmplan/PushT-v0"
PROTOCOL = Protocol(goal="image+proprio", offset=12, budget=16, episode_steps=40)
SETTINGS: dict[str, Any] = {
    "planner": {"name": "cem", "num_samples": 12, "num_iterations": 2, "num_elites": 3, "horizon": 2},
    "protocol": PROTOCOL,
    "episodes": 3,
    "planner_seeds": 2,
}


@pytest.fixture(scope="module")
def model() -> Any:
    sys.path.insert(0, str(HERE))  # for worker processes too, which take over the path
    from pixel_world import PixelWorld

    yield PixelWorld()
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def finished(model: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("finished")
    return out, evaluate(model, TASK, out, rows="all", workers=1, **SETTINGS)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    plain = json.loads(json.dumps(result))
    del plain["machine"], plain["date"]
    for row in plain["rows"].values():
        del row["plan_ms"]
    for one in plain["per_episode"]:
        del one["plan_ms"]
    return plain


def test_the_result_is_what_was_written_and_holds_what_the_design_says(finished: tuple[Path, dict[str, Any]]) -> None:
    out, result = finished
    assert load_results(out) == result
    for name in ("schema", "task", "episodes", "seed", "instances_sha256", "model", "planner", "machine", "versions"):
        assert name in result
    assert result["protocol"]["rule"] == "public" and result["protocol"]["held_out"] is True
    assert list(result["rows"]) == ["planner", "noop", "random", "replay", "oracle"]
    for row in result["rows"].values():
        assert set(row["rules"]) == {"public", "block"}
        low, high = row["success_ci95"]
        assert 0 <= low <= row["success"] <= high <= 1
    assert result["planner"]["num_samples"] == 12 and result["planner"]["replan_every"] == 5
    assert result["model"]["parameters"] == 1
    assert len(result["per_episode"]) == 3 * (2 + 1 + 2 + 1 + 1)


def test_replay_always_succeeds_and_doing_nothing_never(finished: tuple[Path, dict[str, Any]]) -> None:
    rows = finished[1]["rows"]
    assert rows["replay"]["success"] == 1.0 and rows["replay"]["min_distance"] == 0.0
    assert all(rule["success"] == 0.0 for rule in rows["noop"]["rules"].values())
    replayed = [one for one in finished[1]["per_episode"] if one["row"] == "replay"]
    assert all(one["rules"]["public"]["success_step"] <= 12 for one in replayed)


def test_figures_of_a_row_are_those_of_its_episodes(finished: tuple[Path, dict[str, Any]]) -> None:
    out, result = finished
    env = make_environment(TASK, {"image_size": 16})
    for one in result["per_episode"]:
        episode = load_episode(out / one["file"])
        assert episode["states"].shape == (17, 5) and episode["actions"].shape == (16, 2)
        distances = env.task.distance(episode["states"], episode["goal"])
        assert one["final_distance"] == pytest.approx(distances[-1])
        holds = np.asarray(env.task.rules(episode["states"], episode["goal"])["public"])
        assert one["success"] == holds[1:].any() and one["success_at_end"] == holds[-1]
        if one["success"]:
            assert holds[one["success_step"]] and not holds[1 : one["success_step"]].any()
        planned = one["row"] in ("planner", "oracle")
        assert episode["plan_step"].tolist() == ([0, 5, 10, 15] if planned else [])
        assert len(episode["plan_ms"]) == len(episode["plans"]) == len(one["plan_ms"]) == len(episode["plan_step"])
        if planned:  # what was executed is the beginning of each plan
            first = episode["plans"][1].reshape(-1, 2)[:5]
            np.testing.assert_allclose(episode["actions"][5:10], first, atol=1e-6)
    for name, row in result["rows"].items():
        own = [one for one in result["per_episode"] if one["row"] == name]
        assert row["success"] == pytest.approx(np.mean([one["success"] for one in own]))
        assert row["gap_closed"] == pytest.approx(np.mean([one["gap_closed"] for one in own]))
        assert row["env_steps"] == 16 * len(own)
        assert row["rules"]["public"]["success_by"]["16"] == row["success"]
    env.close()


def test_the_oracle_comes_closer_than_random_actions(finished: tuple[Path, dict[str, Any]]) -> None:
    rows = finished[1]["rows"]
    assert rows["oracle"]["min_distance"] < rows["random"]["min_distance"]


def test_frames_are_drawn_from_the_stored_states(finished: tuple[Path, dict[str, Any]]) -> None:
    out, result = finished
    env = make_environment(TASK, {"image_size": 16})
    episode = load_episode(out / "episodes" / "planner-0-0001.npz")
    frames, goal = draw_frames(env, episode, (32, 32)), draw_goal(env, episode, (32, 32))
    assert frames.shape == (17, 32, 32, 3) and goal.shape == (32, 32, 3)
    load_instances(out / "instances.json")[1].start(env)
    np.testing.assert_array_equal(env.render((32, 32)), frames[0])
    assert not np.array_equal(frames[0], frames[-1])
    env.close()


def test_the_number_of_workers_changes_nothing_but_times(
    model: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    result = evaluate(model, TASK, tmp_path, rows="all", workers=2, **SETTINGS)
    assert without_times(result) == without_times(finished[1])


def test_a_run_is_continued_and_extended_without_playing_again(model: Any, tmp_path: Path) -> None:
    settings = {**SETTINGS, "workers": 1}
    played: list[tuple[str, int, int]] = []

    def note(record: dict[str, Any]) -> None:
        played.append((record["row"], record["planner_seed"], record["instance"]))
        record["rules"].clear()  # what it is told is its own
        record.clear()

    evaluate(model, TASK, tmp_path, rows=["replay"], on_episode=note, **{**settings, "episodes": 2})
    assert len(played) == 2
    result = evaluate(model, TASK, tmp_path, rows=["replay", "planner"], on_episode=note, **settings)
    assert len(played) == len(set(played)) == 3 + 3 * 2
    assert len(result["per_episode"]) == 9
    smaller = evaluate(model, TASK, tmp_path, rows=["replay"], on_episode=note, **{**settings, "episodes": 2})
    assert len(played) == 9 and len(smaller["per_episode"]) == 2


def test_a_line_cut_off_by_a_kill_is_played_again(
    model: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    evaluate(model, TASK, tmp_path, rows="all", workers=1, **SETTINGS)
    journal = tmp_path / "per_episode.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    played: list[Any] = []
    result = evaluate(model, TASK, tmp_path, rows="all", workers=1, on_episode=played.append, **SETTINGS)
    assert len(played) == 1
    assert without_times(result) == without_times(finished[1])


def test_without_proprio_the_model_sees_frames_alone(model: Any, tmp_path: Path) -> None:
    from pixel_world import PixelWorld

    class Blind(PixelWorld):
        def encode(self, frames: Any, proprio: Any = None) -> Any:
            return super().encode(frames)

    settings = {**SETTINGS, "rows": ["planner"], "workers": 1, "episodes": 1}
    shown, hidden = (Protocol(offset=12, budget=16, episode_steps=40, proprio=proprio) for proprio in (True, False))
    runs = {
        "blind": evaluate(Blind(), TASK, tmp_path / "blind", **{**settings, "protocol": shown}),
        "hidden": evaluate(model, TASK, tmp_path / "hidden", **{**settings, "protocol": hidden}),
        "shown": evaluate(model, TASK, tmp_path / "shown", **{**settings, "protocol": shown}),
    }
    actions = {
        name: load_episode(tmp_path / name / run["per_episode"][0]["file"])["actions"] for name, run in runs.items()
    }
    assert np.array_equal(actions["hidden"], actions["blind"]) and not np.array_equal(
        actions["hidden"], actions["shown"]
    )


def test_numbers_of_numpy_give_the_same_results(model: Any, tmp_path: Path) -> None:
    settings = {**SETTINGS, "rows": ["planner"], "workers": 1, "episodes": 1, "planner_seeds": 1}
    objective = {"latent": {"weight": 0.5}}
    plain = evaluate(model, TASK, tmp_path / "plain", objective=objective, seed=3, **settings)
    planner = {name: one if isinstance(one, str) else np.int64(one) for name, one in SETTINGS["planner"].items()}
    protocol = Protocol(True, "image+proprio", *map(np.int64, (12, 16)), episode_steps=np.int64(40))  # type: ignore[arg-type]
    given = {**settings, "planner": planner, "protocol": replace(protocol, proprio=np.bool_(True))}
    given |= {name: np.int64(1) for name in ("workers", "episodes", "planner_seeds", "oracle_seeds")}
    objective = {"latent": {"weight": np.float32(0.5)}}
    own = evaluate(model, TASK, tmp_path / "numpy", objective=objective, seed=np.int64(3), **given)  # type: ignore[arg-type]
    assert without_times(own) == without_times(plain)
    for name, value in (("seed", -1), ("episodes", 1.5), ("workers", True), ("planner_seeds", "2")):
        with pytest.raises(UserError, match=name):
            evaluate(model, TASK, tmp_path / "wrong", **{**settings, name: value})


def test_other_settings_are_refused_and_the_setting_named(model: Any, finished: tuple[Path, dict[str, Any]]) -> None:
    out, _ = finished
    before = (out / "results.json").read_bytes()
    with pytest.raises(UserError, match=r"planner\.num_samples=12, this one has 13"):
        evaluate(model, TASK, out, workers=1, **{**SETTINGS, "planner": {**SETTINGS["planner"], "num_samples": 13}})
    with pytest.raises(UserError, match=r"protocol\.budget=16, this one has 17"):
        protocol = Protocol(goal="image+proprio", offset=12, budget=17, episode_steps=40)
        evaluate(model, TASK, out, workers=1, **{**SETTINGS, "protocol": protocol})
    assert (out / "results.json").read_bytes() == before


RUN = """
import sys, time
sys.path.insert(0, {here!r})
from pixel_world import PixelWorld
from wmplan.evaluation import Protocol, evaluate

if __name__ == "__main__":
    protocol = Protocol(goal="image+proprio", offset=12, budget=16, episode_steps=40)
    planner = {{"name": "cem", "num_samples": 12, "num_iterations": 2, "num_elites": 3, "horizon": 2}}
    evaluate(PixelWorld(), {task!r}, {out!r}, planner=planner, protocol=protocol, episodes=3, planner_seeds=2,
             rows="all", workers=2, on_episode=lambda _: time.sleep(0.2))  # so that it is killed before it ends
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_no_process_and_goes_on(
    model: Any, finished: tuple[Path, dict[str, Any]], tmp_path: Path, end: signal.Signals
) -> None:
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(RUN.format(here=str(HERE), task=TASK, out=str(out)))
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True)
    journal = out / "per_episode.jsonl"
    deadline = time.monotonic() + 300
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, end)
    process.wait(timeout=60)
    process.stderr.close()  # type: ignore[union-attr]
    while _alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (out / "results.json").exists()

    played: list[Any] = []
    result = evaluate(model, TASK, out, rows="all", workers=1, on_episode=played.append, **SETTINGS)
    assert 0 < len(played) <= len(result["per_episode"]) - 3
    assert without_times(result) == without_times(finished[1])


def _alive(group: int) -> bool:
    """Whether a process of the group still runs (a zombie does not)."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def test_results_are_compared_in_pairs(finished: tuple[Path, dict[str, Any]]) -> None:
    _, result = finished
    assert compare(result, result).difference == 0.0
    better = json.loads(json.dumps(result))
    for one in better["per_episode"]:
        one["success"] = True
    failed = sum(not one["success"] for one in result["per_episode"] if one["row"] == "planner")
    assert compare(result, better).only_second == failed > 0
    with pytest.raises(UserError, match="different instances"):
        compare(result, {**result, "instances_sha256": "other"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ["planer"]}, "no row 'planer'"),
        ({"rows": []}, "rows is empty"),
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"planner_seeds": 0}, "planner_seeds must be at least 1, got 0"),
        ({"workers": 0}, "workers must be from 1 to 1024, got 0"),
        ({"planner": {"name": "cem", "samples": 3}}, "samples"),
        ({"planner": {"name": "annealing"}}, "annealing"),
        ({"schedule": {"receding": 3}}, "receding"),
        ({"protocol": Protocol(rule="touch")}, "no rule 'touch'"),
        ({"task": "wmplan.envs:wmplan/PushQ-v0"}, "PushQ"),
        ({"task": "CartPole-v1"}, "'CartPole-v1' cannot be planned in: its actions"),
        ({"environment": {"colour": 3}}, "colour"),
        ({"objective": {"distance": {}}}, "no objective 'distance'"),
    ],
)
def test_mistakes_get_one_line_and_leave_no_file(
    model: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    settings = {**SETTINGS, "task": TASK, "workers": 1, **change}
    with pytest.raises(ValueError, match=message) as error:
        evaluate(model, out=tmp_path / "out", **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_without_a_model_the_planner_row_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs a model"):
        evaluate(None, TASK, tmp_path, **SETTINGS)
    result = evaluate(None, TASK, tmp_path, rows=["noop"], workers=1, **SETTINGS)
    assert result["model"] is None


def test_a_full_disk_stops_the_run_and_leaves_no_half_file(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = np.savez_compressed

    def full(file: Any, **arrays: Any) -> None:
        real(file, **arrays)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(model, TASK, tmp_path, rows=["replay"], workers=1, **SETTINGS)
    assert list((tmp_path / "episodes").iterdir()) == []
    monkeypatch.undo()
    assert evaluate(model, TASK, tmp_path, rows=["replay"], workers=1, **SETTINGS)["rows"]["replay"]["success"] == 1.0


def test_a_missing_or_damaged_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no"):
        load_results(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        load_results(tmp_path)
    (tmp_path / "results.json").write_text('{"schema": 7}')
    with pytest.raises(UserError, match="schema 1"):
        load_results(tmp_path)
