"""Joins the pieces of a collection into the data set that one process would have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmplan.data.collection import episodes_in, saved_episodes
from wmplan.data.meta import DataError, StoreMeta, write_file
from wmplan.data.shard_writer import link_shards
from wmplan.data.store import EpisodeStore, shard_path
from wmplan.pieces import FILE, Piece, require_complete, require_one_command


def merge_collections(pieces: Mapping[Path, Mapping[str, Any]], out: Path) -> EpisodeStore:
    """Copy the files of all pieces into one data set.

    Args:
        pieces: the piece.json of each folder.

    Returns:
        The data set.

    Raises:
        UserError: if they do not make one whole collection; nothing is written then.
    """
    if (out / FILE).is_file():
        raise DataError(f"{out} holds a piece: give another out=DIR")
    metas = {folder: StoreMeta.read(folder) for folder in pieces}
    (first, meta), *_ = metas.items()
    for other, its in metas.items():
        require_one_command(first, asdict(meta), other, asdict(its))
    require_complete({folder: str(piece["shard"]) for folder, piece in pieces.items()})
    source: dict[int, Path] = {}
    for folder, piece in pieces.items():
        number, of = map(int, piece["shard"].split("/"))
        for shard in range(meta.num_shards):
            if Piece(number, of).holds(shard):
                _require_whole(folder, shard, meta)
                source[shard] = shard_path(folder, shard)

    there = saved_episodes(out, meta)
    try:
        (out / "shards").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"out={out} cannot be made: {error.strerror}") from None
    meta.write(out)
    for shard, path in tqdm(sorted(source.items()), desc="merge", unit="file", disable=None):
        if there[shard] < len(meta.shard_episodes(shard)):
            write_file(shard_path(out, shard), path.read_bytes())
    store = EpisodeStore.open(out)
    link_shards(out / "episodes.h5", store.paths)
    return store


def _require_whole(folder: Path, shard: int, meta: StoreMeta) -> None:
    wanted = meta.shard_episodes(shard)
    there, path = episodes_in(shard_path(folder, shard), wanted), shard_path(folder, shard)
    if there < len(wanted):
        raise DataError(
            f"{folder} is unfinished or damaged, {path} has {there} of {len(wanted)} episodes: run its command again; "
            "nothing was written"
        )
