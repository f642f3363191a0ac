"""robomimic's and LIBERO's HDF5, as their documentation lays it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.reader import open_data
from wmplan.data.store import EpisodeStore

Episodes = list[dict[str, Any]]
HAND = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}


@pytest.fixture
def write(tmp_path: Path, episodes: Episodes) -> Callable[..., Path]:
    def save(
        edit: Callable[[h5py.Group], object] = lambda data: None, cameras: tuple[str, ...] = ("agentview_image",)
    ) -> Path:
        path = tmp_path / str(len(list(tmp_path.iterdir()))) / "low_dim.hdf5"
        path.parent.mkdir()
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 20}})
            for number, one in enumerate(episodes):
                rows = len(one["action"])
                demo = data.create_group(f"demo_{number + 8}")  # 8, 9, 10, 11: not the order of their letters
                demo["actions"] = np.nan_to_num(one["action"], nan=9).astype(np.float64)
                demo["states"] = np.full((rows, 32), number, np.float64)
                demo["rewards"], demo["dones"] = np.zeros(rows), np.zeros(rows, np.int64)
                for name in cameras:
                    demo[f"obs/{name}"] = one["pixels"]
                for name, size in HAND.items():
                    demo[f"obs/{name}"] = np.full((rows, size), number + size / 10)
                demo["obs/object"] = np.full((rows, 10), number, np.float64)
                demo["next_obs/object"] = np.full((rows, 10), number, np.float64)
            file.create_group("mask")["train"] = np.array([b"demo_8"])
            edit(data)
        return path

    return save


def test_every_demonstration_is_an_episode(write: Any, episodes: Episodes) -> None:
    path = write()
    assert not EpisodeStore.recognises(path)
    found = open_data(path, task="mine/Lift-v0")
    assert found.lengths.tolist() == [9, 1, 14, 6] and found.meta.control_rate == 20
    for index, one in enumerate(episodes):
        rows = found.episode(index)
        np.testing.assert_array_equal(rows["pixels"], one["pixels"])
        np.testing.assert_array_equal(rows["action"], one["action"])  # whose last row was seen by no frame
        hand = np.repeat([index + 0.3, index + 0.4, index + 0.2], [3, 4, 2])
        np.testing.assert_allclose(rows["proprio"], np.tile(hand, (len(one["action"]), 1)))
        assert rows["state"].shape[1] == 10 and rows["physics_state"].shape[1] == 32 and "reward" in rows
    assert found.episode(2, ["action"], 3, 5)["action"].shape == (2, 2)
    assert found.meta.action_high == (3.0, 12.0)


def test_a_camera_is_chosen_or_there_is_none(write: Any, episodes: Episodes) -> None:
    path = write(cameras=("agentview_image", "robot0_eye_in_hand_image"))
    with pytest.raises(DataError, match="2 cameras, agentview_image, robot0_eye_in_hand_image: choose one"):
        open_data(path)
    found = open_data(path, camera="robot0_eye_in_hand_image")
    np.testing.assert_array_equal(found.episode(2)["pixels"], episodes[2]["pixels"])
    both = open_data(path, cameras=["robot0_eye_in_hand_image", "agentview_image"])
    assert both.cameras == ("robot0_eye_in_hand_image", "agentview_image") and "pixels" not in both.columns
    for name in both.cameras:
        np.testing.assert_array_equal(both.episode(2)[name], episodes[2]["pixels"])
    assert "pixels" not in open_data(write(cameras=())).columns


def set_dataset(name: str, value: Any) -> Callable[[h5py.Group], None]:
    def edit(data: h5py.Group) -> None:
        del data["demo_8"][name]
        if value is not None:
            data["demo_8"][name] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            set_dataset("obs/agentview_image", np.zeros((8, 32, 48, 3), np.uint8)),
            r"demo_8 has other numbers of rows.*obs/agentview_image 8",
        ),
        (set_dataset("actions", np.full((9, 2), np.nan)), "episode 0 at step 0 is not finite"),
        (set_dataset("actions", np.array([b"a"] * 9)), "column 'action' holds text"),
        (lambda data: [data.pop(name) for name in list(data)], "holds no group with 'actions'"),
        (lambda data: data["demo_10"].pop("obs"), "demo_10, column 'pixels' has no dataset 'obs/agentview_image'"),
        (set_dataset("actions", h5py.ExternalLink("/etc/passwd", "/a")), "has no dataset 'actions'"),
    ],
)
def test_what_cannot_be_meant_is_one_line(edit: Any, says: str, write: Any) -> None:
    with pytest.raises(DataError, match=says) as caught:
        open_data(write(edit))
    assert "\n" not in str(caught.value) and "low_dim.hdf5" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "shape", "says"),
    [
        ("obs/agentview_image", (14, 16, 16, 3), r"'pixels' has rows of shape \(16, 16, 3\), those of demo_8"),
        ("actions", (14, 3), r"'action' has rows of shape \(3,\), those of demo_8 have \(2,\)"),
        ("obs/robot0_gripper_qpos", (14, 1), r"'proprio' has rows of shape \(8,\), those of demo_8 have \(9,\)"),
        ("obs/object", (14, 11), r"'state' has rows of shape \(11,\), those of demo_8 have \(10,\)"),
    ],
)
def test_rows_of_another_shape_than_the_first_episodes_are_one_line(
    source: str, shape: tuple[int, ...], says: str, write: Any
) -> None:
    def edit(data: h5py.Group) -> None:
        del data["demo_10"][source]
        data["demo_10"][source] = np.zeros(shape, np.uint8 if len(shape) == 4 else np.float64)

    with pytest.raises(DataError, match=f"low_dim.hdf5: demo_10, column {says}") as caught:
        open_data(write(edit))
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_one_line(write: Any) -> None:
    path = write()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="low_dim.hdf5 is cut short"):
        open_data(path)
