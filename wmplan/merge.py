"""What `wmplan merge` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmplan.data.store import EpisodeStore
from wmplan.errors import UserError
from wmplan.pieces import read_piece


def merge(dirs: Sequence[str | Path], *, out: str | Path) -> dict[str, Any] | EpisodeStore:
    """Join the pieces of an evaluation or of a collection into what one process would have written.

    The folders of the pieces stay as they are. A merge that was stopped goes on when it is started again.

    Args:
        dirs: the folders of all pieces, in any order.
        out: the folder that they are joined into.

    Returns:
        The content of results.json, or the EpisodeStore of a collection.

    Raises:
        UserError: if a piece is missing, unfinished or given twice, or they are not of one command and the same
            versions; nothing is written then.
    """
    folders = [Path(one) for one in dirs]
    if not folders:
        raise UserError("dirs is empty, it has to name the folders of the pieces: wmplan merge DIR DIR ... out=DIR")
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
    pieces = {folder: read_piece(folder) for folder in folders}
    if len(pieces) < len(folders):
        twice = next(one for i, one in enumerate(folders) if one in folders[:i])
        raise UserError(f"{twice} is given twice")
    own = next((folder for folder in folders if folder.resolve() == Path(out).resolve()), None)
    if own is not None:
        raise UserError(f"out={out} is one of the pieces, which stay as they are: give another folder")
    kinds = {piece["kind"]: folder for folder, piece in pieces.items()}
    if len(kinds) > 1:
        (first, one), (second, other) = kinds.items()
        raise UserError(f"{one} holds a piece of {_a(first)}, {other} of {_a(second)}: they cannot be joined")
    if "collection" in kinds:
        from wmplan.data.merging import merge_collections

        return merge_collections(pieces, Path(out))
    from wmplan.evaluation.merging import merge_evaluations

    return merge_evaluations(pieces, Path(out))


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
