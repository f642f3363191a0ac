"""Films of the episodes of a result folder, failures first, made from the states that were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmplan.data.registered import make_environment
from wmplan.evaluation.rollout import draw_frames, draw_goal, load_episode
from wmplan.report.videos import episode_film, write_mp4

Record = Mapping[str, Any]


def choose_films(records: Sequence[Record], count: int, success: str = "success") -> list[Record]:
    """Up to `count` episodes of the planner: failures first, but a third for the successes where there are any.

    Args:
        success: the field that counts, see counted_success().
    """
    own = [one for one in records if one["row"] == "planner"]
    failed = [one for one in own if not one[success]]
    succeeded = [one for one in own if one[success]]
    failures = min(len(failed), max(count - len(succeeded), count - count // 3))
    return [*failed[:failures], *succeeded[: count - failures]]


def make_films(folder: Path, results: Mapping[str, Any], records: Sequence[Record]) -> list[Path]:
    """The films of episodes; those that are newer than their episode are not made again."""
    settings, paths, missing = results["settings"], [], []
    for record in records:
        paths.append((folder / record["file"]).with_suffix(".mp4"))
        kept = paths[-1].exists() and paths[-1].stat().st_mtime >= (folder / record["file"]).stat().st_mtime
        if not kept:
            missing.append((record, paths[-1]))
    if not missing:
        return paths
    env = make_environment(settings["task"], settings["environment"])
    try:
        for record, path in tqdm(missing, desc="films", unit="film", disable=None):
            episode = load_episode(folder / record["file"])
            frames = draw_frames(env, episode, env.image_size)
            goal = draw_goal(env, episode, env.image_size)
            write_mp4(path, episode_film(list(frames), goal, success_step=record["success_step"]), env.control_rate)
    finally:
        env.close()
    return paths
