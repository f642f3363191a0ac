"""`wmplan data convert`: recorded data of any format, written as our own shards or in LeRobot's format."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from wmplan.atomic_io import remove_leftovers
from wmplan.counted import counted
from wmplan.data.conversion_record import ConversionRecord
from wmplan.data.converted import Converted
from wmplan.data.meta import DamagedError, DataError, StoreMeta
from wmplan.data.reader import open_data
from wmplan.data.shard import Shard
from wmplan.data.shard_writer import EpisodeWriter, link_shards
from wmplan.data.store import EpisodeStore, shard_path
from wmplan.errors import UserError
from wmplan.output_folder import check_folder, make_folder
from wmplan.settings.difference import difference
from wmplan.settings.numbers import require_image_size

SHARD_BYTES = 1 << 28  # of raw rows: a shard is composed in memory
LARGEST_SIDE = 4096


def convert_data(
    source: str,
    out: str,
    format: Literal["shards", "lerobot"] = "shards",
    camera: str | None = None,
    cameras: tuple[str, ...] | None = None,
    image_size: tuple[int, int] | None = None,
    shift: int = 0,
    control_rate: float | None = None,
    video: Literal["lossless", "av1", "images"] = "lossless",
) -> str:
    """Convert a data set, and say what was written.

    Args:
        source: a folder or file, or FORMAT:PATH.
        out: the folder to write into.
        format: shards are what training reads fastest; lerobot is LeRobot's v3.0.
        camera: the one to read, of several; its frames are written as the column pixels.
        cameras: those to read in place of one, each a column of its name, or one of LeRobot's cameras.
        image_size: [height, width] that frames are brought to; null for as they are.
        shift: rows by which actions move; see wmplan data check.
        control_rate: rows a second, where the data does not say, or says wrong.
        video: of format=lerobot: H.264 without loss, AV1 as LeRobot's own (smaller, with loss), or PNG images.

    Raises:
        UserError: where the data cannot be read, or the folder holds something else.
    """
    if image_size is not None:
        require_image_size(image_size, 1, LARGEST_SIDE)
    if control_rate is not None and not 0 < control_rate < 1e6:
        raise UserError(f"control_rate must be above 0 rows a second, got {control_rate}")
    data = open_data(source, camera=camera, cameras=cameras)
    view = Converted(data, image_size, shift)
    if not len(view):
        raise UserError(f"{source}: no episode has more than {abs(shift)} rows, shift={shift} leaves nothing")
    lost = len(data) - len(view)
    notes = [f"{lost} of {len(data)} episodes left out, without rows"] if lost else []
    columns = view.columns
    if left := sorted(data.columns.keys() - columns.keys() - {"episode_idx", "step_idx"}):
        notes.append(f"left out, without finite numbers in every row: {', '.join(left)}")
    for name in view.cameras if image_size is not None else ():
        (height, width, _), (to_height, to_width, _) = data.columns[name][0], columns[name][0]
        if abs(width * to_height / (height * to_width) - 1) > 0.02:
            notes.append(f"frames of {height} x {width} are stretched to {to_height} x {to_width}")
    rate = control_rate or data.meta.control_rate
    if format == "lerobot":
        from wmplan.data.lerobot_writer import write_lerobot

        written = write_lerobot(view, Path(out), rate, video)
        notes += [f"{len(view) - written} episodes of one row left out"] if written < len(view) else []
    else:
        _write_shards(view, Path(out), rate, camera if cameras is None else list(cameras))
        written = len(view)
    data.close()
    told = f"{out}: {counted(written, 'episode')}, {int(view.lengths.sum())} rows"
    return "\n".join([told, *(f"note: {note}" for note in notes)])


def _write_shards(view: Converted, folder: Path, rate: float | None, camera: str | list[str] | None) -> EpisodeStore:
    """Write what is missing of the shards."""
    columns = view.columns
    meta = _describe(view, rate)
    if (folder / "meta.json").is_file():
        before, now = (json.loads(json.dumps(asdict(one))) for one in (StoreMeta.read(folder), meta))
        _require_same(folder, before, now)
        made_from = ConversionRecord.read(folder)
        record = ConversionRecord.of(view.data, camera, view.shift, made_from)
        _require_same(folder, made_from.told(), record.told())
    else:
        check_folder(folder, "a conversion", [], ["meta.json", "shards", "episodes.h5"])
        record = ConversionRecord.of(view.data, camera, view.shift, None)
    make_folder(folder / "shards")
    remove_leftovers(folder)
    record.write(folder)
    meta.write(folder)
    with tqdm(total=len(view), desc="convert", unit="ep", disable=None) as bar:
        for number in range(meta.num_shards):
            path, episodes = shard_path(folder, number), meta.shard_episodes(number)
            if not _is_written(path, episodes):
                writer = EpisodeWriter(path)
                for episode in episodes:
                    writer.add(episode, view.episode(episode, tuple(columns)))
                    bar.update(1)
                writer.save()
            else:
                bar.update(len(episodes))
    store = EpisodeStore.open(folder)
    link_shards(folder / "episodes.h5", store.paths)
    return store


def _require_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if other := difference(before, now, "data", ignore=("versions",)):
        raise DataError(f"{folder} holds {other}: give another out=DIR, or delete {folder} to begin anew")


def _describe(view: Converted, rate: float | None) -> StoreMeta:
    data, columns = view.data, view.columns
    row_bytes = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in columns.values())
    lengths = set(view.lengths.tolist())
    return replace(
        data.meta,
        episodes=len(view),
        steps=max(lengths) - 1 if len(lengths) == 1 else None,
        episodes_per_shard=int(np.clip(SHARD_BYTES // (row_bytes * int(view.lengths.max())), 1, 500)),
        control_rate=rate,
        image_size=columns[view.cameras[0]][0][:2] if view.cameras else None,  # type: ignore[arg-type]  # of 3
        versions={name: version(name) for name in ("wmplan", "numpy")},
    )


def _is_written(path: Path, episodes: range) -> bool:
    """Whether a shard is there whole, from an earlier run."""
    if not path.is_file():
        return False
    try:
        with contextlib.closing(Shard(path)) as shard:
            shard.require_episodes(episodes)
            return len(shard.lengths) == len(episodes)
    except DamagedError:
        return False
