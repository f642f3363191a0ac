"""The rows of a suite's table as they are kept between runs: suite.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from wmplan.atomic_io import write_json
from wmplan.errors import UserError
from wmplan.evaluation.results import load_results
from wmplan.suite.benchmarks import Benchmark, Published

KINDS: dict[str, Any] = {"str": str, "str | None": str | None, "float": int | float}
"""What fields of a row may hold, by their annotations."""


@dataclass(frozen=True)
class Entry:
    """One row: a benchmark with a model.

    Attributes:
        part: "-offset_75", of a protocol with several offsets; else empty.
        model: as it was given; None where none is shipped.
        folder: of the results, below that of the suite.
        reason: why there are none, or none of the planner; or what has to be known of the model.
    """

    benchmark: Benchmark
    part: str
    model: str | None
    folder: str
    reason: str | None = None

    def results(self, suite: Path) -> dict[str, Any] | None:
        """What was measured; None where nothing is finished."""
        found = suite / self.folder / "results.json"
        return load_results(found.parent) if found.is_file() else None

    def measured(self, suite: Path) -> tuple[Entry, dict[str, Any] | None]:
        """The row, and what was measured; a row whose results are damaged says so, and has none."""
        try:
            return self, self.results(suite)
        except UserError as error:
            return replace(self, reason=str(error)), None


def write_entries(suite: Path, new: Sequence[Entry] = ()) -> None:
    """Keep rows, in place of earlier ones of the same folders; rows stand in the order they were first written."""
    entries = {one.folder: one for one in (*read_entries(suite), *new)}
    write_json(suite / "suite.json", {"schema": 1, "rows": [asdict(one) for one in entries.values()]}, indent=1)


def read_entries(suite: Path) -> list[Entry]:
    """The rows that a folder holds, none where it is new.

    Raises:
        UserError: if suite.json is damaged.
    """
    path = suite / "suite.json"
    if not path.exists():
        return []
    try:
        return [_entry(one) for one in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is damaged ({error}): write {{"rows": []}} into it, and run the suite again; no episode is lost'
        ) from None


def _entry(told: dict[str, Any]) -> Entry:
    benchmark = told["benchmark"]
    figures = tuple(Published(**one) for one in benchmark["published"])
    entry = Entry(**{**told, "benchmark": Benchmark(**{**benchmark, "published": figures})})
    parts: tuple[Entry | Benchmark | Published, ...] = (entry, entry.benchmark, *figures)
    for one in parts:
        for field in fields(one):
            value, kinds = getattr(one, field.name), KINDS.get(str(field.type))
            if kinds is not None and not isinstance(value, kinds):
                raise UserError(f"{field.name} is {value!r}")
    if Path(entry.folder).is_absolute() or ".." in Path(entry.folder).parts:
        raise UserError(f"{entry.folder!r} is no folder below")
    return entry
