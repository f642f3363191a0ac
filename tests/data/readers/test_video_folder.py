"""A folder of videos with tables of actions, one a video or one for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmplan.data.meta import DataError
from wmplan.data.reader import open_data

Episodes = list[dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, episodes: Episodes, write_video: Callable[..., None]) -> Path:
    for number, one in enumerate(episodes):
        write_video(tmp_path / "runs" / f"run_{number}.mp4", one["pixels"])
    return tmp_path / "runs"


def csv(one: dict[str, Any], rows: int | None = None, video: str | None = None) -> list[str]:
    actions = np.nan_to_num(one["action"], nan=9)[:rows]
    lines = [f"{x},{y},{p[0]},{p[1]},{p[2]}" for (x, y), p in zip(actions, one["proprio"][:rows], strict=True)]
    return lines if video is None else [f"{line},{video}" for line in lines]


HEADER = "action.x,action.y,proprio_0,proprio_1,proprio_2"


def require_same(folder: Path, episodes: Episodes) -> None:
    found = open_data(folder)
    assert found.lengths.tolist() == [len(one["action"]) for one in episodes] and found.meta.control_rate == 10
    for index in (2, 0, 3, 1):
        rows = found.episode(index, ["pixels", "action"])
        np.testing.assert_array_equal(rows["pixels"], episodes[index]["pixels"])
        np.testing.assert_array_equal(rows["action"], episodes[index]["action"])
    np.testing.assert_allclose(found.episode(2)["proprio"], episodes[2]["proprio"])


def test_a_table_for_each_video(folder: Path, episodes: Episodes) -> None:
    for number, one in enumerate(episodes):
        (folder / f"run_{number}.csv").write_text("\n".join([HEADER, *csv(one)]) + "\n")
    require_same(folder, episodes)
    (folder / "run_2.csv").write_text("\n".join([HEADER, *csv(episodes[2], rows=13)]) + "\n")  # none for the last frame
    assert open_data(folder).episode(2)["action"][:-1, 1].tolist() == list(range(13))
    (folder / "run_2.csv").write_text("\n".join([HEADER, *csv(episodes[2], rows=11)]) + "\n")
    with pytest.raises(DataError, match="run_2.mp4 has 14 frames and run_2.csv 11 rows for it"):
        open_data(folder)
    (folder / "run_2.csv").write_text("\n".join([HEADER, "1,2", *csv(episodes[2])]))
    with pytest.raises(DataError, match="run_2.csv is no table that can be read"):
        open_data(folder)
    (folder / "run_2.csv").unlink()
    with pytest.raises(DataError, match="run_2.mp4 has no table run_2.csv or .parquet beside it"):
        open_data(folder)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_one_table_for_all(kind: str, folder: Path, episodes: Episodes) -> None:
    lines = [line for number, one in enumerate(episodes) for line in csv(one, video=f"run_{number}.mp4")]
    (folder / "actions.csv").write_text("\n".join([HEADER + ",video", *lines]) + "\n")
    if kind == "parquet":
        import pyarrow.csv
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.csv.read_csv(folder / "actions.csv"), folder / "actions.parquet")
        (folder / "actions.csv").unlink()
    require_same(folder, episodes)


@pytest.mark.parametrize("header", ["video,action", "video, action", "action, video"])
def test_names_of_videos_may_be_digits(header: str, tmp_path: Path, episodes: Episodes, write_video: Any) -> None:
    lines = [header]
    for name, one in zip(("000", "001"), (episodes[0], episodes[2]), strict=True):
        write_video(tmp_path / "runs" / f"{name}.mp4", one["pixels"])
        for row in range(len(one["action"])):
            lines.append(f"{name},{row}" if header.startswith("video") else f"{row},{name}")
    (tmp_path / "runs" / "actions.csv").write_text("\n".join(lines) + "\n")
    found = open_data(tmp_path / "runs")
    assert found.lengths.tolist() == [9, 14]
    assert found.episode(1)["action"][:-1, 0].tolist() == list(range(13))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("parquet", ["000", "007"]),
        ("parquet", [0, 7]),
        ("parquet", [0.0, 7.0]),  # a column that once had a gap
        ("parquet", ["videos/000.mp4", "videos/007.mp4"]),
        ("csv", ["0", "7"]),
    ],
)
def test_videos_may_be_named_by_number(
    kind: str, names: list[Any], tmp_path: Path, episodes: Episodes, write_video: Any
) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    folder = tmp_path / "runs"
    for stem, one in (("000", episodes[0]), ("007", episodes[2])):
        write_video(folder / f"{stem}.mp4", one["pixels"])
    named = [name for name, one in zip(names, (episodes[0], episodes[2]), strict=True) for _ in one["action"]]
    steps = [*range(9), *range(14)]
    table = pa.table({"video": pa.array(named), "action": pa.array(steps, pa.float64())})
    if kind == "parquet":
        pyarrow.parquet.write_table(table, folder / "actions.parquet")
    else:
        pyarrow.csv.write_csv(table, folder / "actions.csv")
    found = open_data(folder)
    assert found.lengths.tolist() == [9, 14]
    assert found.episode(1)["action"][:-1, 0].tolist() == list(range(13))


def test_a_number_that_two_videos_have_is_no_name(tmp_path: Path, episodes: Episodes, write_video: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    folder = tmp_path / "runs"
    for stem in ("007", "7"):
        write_video(folder / f"{stem}.mp4", episodes[0]["pixels"])

    def write(names: list[Any]) -> None:
        table = pa.table({"video": [name for name in names for _ in range(9)], "action": [*range(9), *range(20, 29)]})
        pyarrow.parquet.write_table(table, folder / "actions.parquet")

    write([7, 7])
    with pytest.raises(DataError, match=r"has 7, which may be 007.mp4 and 7.mp4: write the names as text"):
        open_data(folder)
    write(["7", "007"])
    assert open_data(folder).episode(0)["action"][0, 0] == 20  # 007.mp4


def test_a_name_may_have_dots(tmp_path: Path, episodes: Episodes, write_video: Any) -> None:
    folder = tmp_path / "runs"
    write_video(folder / "run.1.mp4", episodes[0]["pixels"])
    (folder / "actions.csv").write_text("\n".join(["action,video", *(f"{row},run.1" for row in range(9))]) + "\n")
    assert open_data(folder).lengths.tolist() == [9]


def test_what_is_no_action_or_no_video_is_one_line(folder: Path, episodes: Episodes) -> None:
    table = folder / "actions.csv"
    for text, says in (
        ("a,video\n1,run_0.mp4\n", "has no column 'action'|frames and"),
        ("action\n1\n", "must have a column 'video'"),
        ("video\n" + "run_0.mp4\n" * 9, "actions.csv has no column 'action' or 'action.NAME'"),
        ("action,video\nfast,run_0.mp4\n", "frames and"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=says):
            open_data(folder)
    (folder / "run_0.mp4").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="run_0.mp4 is cut short or damaged"):
        open_data(folder)
