"""Joins the pieces of an evaluation into the folder that one process would have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wmplan.atomic_io import write_durably
from wmplan.errors import UserError
from wmplan.evaluation.journal import Journal, Key, Record, read_journal
from wmplan.evaluation.results import WRITES, assemble, load_results, write_results
from wmplan.evaluation.worker import units_of
from wmplan.output_folder import check_folder, make_folder
from wmplan.pieces import Piece, require_complete, require_one_command

MAY_DIFFER = ("date", "machine")  # between the results of pieces


def merge_evaluations(pieces: Mapping[Path, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """Write results.json, instances.json, the episodes and the journal of all pieces together.

    Args:
        pieces: the piece.json of each folder.

    Returns:
        The content of results.json.

    Raises:
        UserError: if they do not make one whole evaluation; nothing is written then.
    """
    folder = check_folder(out, "an evaluation", ["per_episode.jsonl"], WRITES)
    (first, piece), *_ = pieces.items()
    journals = {one: read_journal(one / "per_episode.jsonl") for one in pieces}
    settings = {one: _without_shard(journal[0]) for one, journal in journals.items()}
    for other, its in pieces.items():
        require_one_command(first, settings[first], other, settings[other])
        require_one_command(first, _same(piece), other, _same(its))
    require_complete({one: str(its["shard"]) for one, its in pieces.items()})
    for one, its in pieces.items():
        _require_finished(one, its, journals[one][1])

    _require_no_longer(folder, piece["result"]["episodes"])
    make_folder(folder / "episodes")
    source: dict[Key, tuple[Path, Record]] = {
        key: (one, record) for one, (_, records) in journals.items() for key, record in records.items()
    }
    units = units_of(piece["rows"], piece["result"]["episodes"])
    with Journal(folder / "per_episode.jsonl", settings[first]) as journal:
        _copy(first / "instances.json", folder / "instances.json")
        for unit in tqdm(units, desc="merge", unit="episode", disable=None):
            if unit.key not in journal.records:
                one, record = source[unit.key]
                _copy(one / record["file"], folder / record["file"])
                journal.append(record)
        records = [journal.records[unit.key] for unit in units]
    head = {
        **piece["result"],
        "date": max(its["result"]["date"] for its in pieces.values()),
        "machine": _machine([its["result"]["machine"] for its in pieces.values()]),
    }
    result = assemble(head, list(piece["rows"]), piece["rows_absent"], records, piece["budget"])
    write_results(folder / "results.json", result)
    return result


def _require_no_longer(folder: Path, episodes: int) -> None:
    """Raise a UserError where the folder holds a result of more instances: a merge would take some away."""
    path = folder / "results.json"
    if path.exists() and (there := load_results(folder)["episodes"]) > episodes:
        raise UserError(
            f"{folder} was made longer since it was merged, it holds {there} instances and the pieces {episodes}: give "
            "another out=DIR, or make the pieces as long"
        )


def _without_shard(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (settings or {}).items() if name != "shard"}


def _same(piece: Mapping[str, Any]) -> dict[str, Any]:
    """What all pieces have in common."""
    result = {name: value for name, value in piece["result"].items() if name not in MAY_DIFFER}
    return {**result, **{name: piece[name] for name in ("rows", "rows_absent", "budget")}}


def _require_finished(folder: Path, piece: Mapping[str, Any], records: Mapping[Key, Record]) -> None:
    number, of = map(int, piece["shard"].split("/"))
    units = units_of(piece["rows"], piece["result"]["episodes"], Piece(number, of))
    there = sum(unit.key in records for unit in units)
    if there < len(units):
        raise UserError(
            f"{folder} is unfinished, it has {there} of {len(units)} episodes: run its command again; nothing was "
            "written"
        )
    for unit in units:
        if not (folder / records[unit.key]["file"]).is_file():
            raise UserError(f"{folder / records[unit.key]['file']} is missing: fetch the whole folder of the piece")


def _machine(machines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the pieces were measured on: where they differ, each value once; the workers of all together."""
    joined: dict[str, Any] = {}
    for name in machines[0]:
        values = list(dict.fromkeys(one.get(name) for one in machines))
        joined[name] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    return joined | {"workers": sum(one["workers"] for one in machines)}


def _copy(source: Path, target: Path) -> None:
    content = source.read_bytes()
    write_durably(target, lambda file: file.write(content))
