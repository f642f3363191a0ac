"""Pieces of an evaluation or a collection that are made apart, anywhere, and joined by `wmplan merge`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmplan.checked import read_json_checked, write_json_checked
from wmplan.errors import UserError
from wmplan.settings.difference import difference

FILE = "piece.json"
SHOWN = 10  # missing pieces that a message names


@dataclass(frozen=True)
class Piece:
    """One of several pieces, counted from 1.

    What is numbered goes round the pieces, so that a longer run's pieces hold all that those of a shorter one held.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, shard: str, parts: int, what: str) -> Piece:
        """The piece that a setting `shard` asks for, as 3/16, the third of sixteen.

        Args:
            parts: the most pieces there can be.
            what: what there is one of for each: "10 episodes".

        Raises:
            UserError: if there is no such piece.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"shard must be NUMBER/PIECES, from 1/16 to 16/16 for sixteen pieces, got {shard!r}")
        if int(match[2]) > parts:
            raise UserError(f"shard must be of at most {parts} pieces, for {what}, got {shard}")
        return cls(int(match[1]), int(match[2]))

    def holds(self, number: int) -> bool:
        """Whether what has this number, from 0, is in the piece."""
        return number % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def write_piece(folder: Path, kind: str, piece: Piece, content: Mapping[str, Any]) -> dict[str, Any]:
    """Say in a folder which piece it holds; gives what was written.

    Args:
        kind: "evaluation" or "collection".
        content: what merging needs to know beside it.
    """
    document = {"schema": 1, "kind": kind, "shard": str(piece), **content}
    write_json_checked(folder / FILE, document)
    return document


def read_piece(folder: Path) -> dict[str, Any]:
    """What write_piece() wrote into a folder.

    Raises:
        UserError: if there is none, or it is damaged or of another schema.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no piece: there is no {path}, which wmplan eval and collect write with shard=")
    found = read_json_checked(path, "run the command of the piece again, it is written anew")
    if found.get("schema") != 1:
        raise UserError(f"{path} is of schema {found.get('schema')}, this version of wmplan reads schema 1")
    return found


def require_one_command(first: Path, old: Mapping[str, Any], other: Path, new: Mapping[str, Any]) -> None:
    """Check that two folders hold pieces of the same command, made by the same versions.

    Args:
        old, new: all that has to be the same in the first folder and in the other one.

    Raises:
        UserError: that names what differs.
    """
    if found := difference(json.loads(json.dumps(old)), new, "a piece", named=str(other)):
        raise UserError(f"{first} holds {found}: pieces are of one command, on the same versions; nothing was written")


def require_complete(shards: Mapping[Path, str]) -> None:
    """Check that folders hold every piece of one run, each once.

    Args:
        shards: of each folder, as "3/16".

    Raises:
        UserError: that names two folders, or the pieces that are missing.
    """
    folder_of: dict[int, Path] = {}
    first, *_ = shards
    of = shards[first].partition("/")[2]
    for folder, shard in shards.items():
        number, _, pieces = shard.partition("/")
        if pieces != of:
            raise UserError(
                f"{first} holds piece {shards[first]} and {folder} piece {shard}: they are of two divisions"
            )
        if int(number) in folder_of:
            raise UserError(f"piece {shard} is given twice: {folder_of[int(number)]} and {folder} hold it")
        folder_of[int(number)] = folder
    missing = [number for number in range(1, int(of) + 1) if number not in folder_of]
    if missing:
        named = ", ".join(f"{number}/{of}" for number in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"{len(missing)} of {of} pieces {verb} missing: {named}; nothing was written")
