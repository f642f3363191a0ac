"""The table of a suite: published figures beside those measured, as JSON, Markdown and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmplan.atomic_io import write_durably, write_json
from wmplan.evaluation.results import counted_success
from wmplan.suite.entries import Entry

HEAD = (
    *("task", "protocol", "published", "model", "instances"),
    *("success %", "without solved %", "noop %", "replay %", "plan ms"),
)


def write_tables(folder: Path, entries: Sequence[Entry]) -> None:
    """Write table.json and table.md."""
    rows = [row(*entry.measured(folder)) for entry in entries]
    write_json(folder / "table.json", {"schema": 1, "rows": rows}, indent=1)
    text = markdown(rows)
    write_durably(folder / "table.md", lambda file: file.write(text.encode()))


def row(entry: Entry, results: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row as figures; shares are from 0 to 1, None where there is none."""
    benchmark = entry.benchmark
    told: dict[str, Any] = {
        "suite": benchmark.suite,
        "task": benchmark.task,
        "protocol": f"{benchmark.protocol}{entry.part}",
        "published": [vars(one) for one in benchmark.published],
        "model": entry.model,
        "folder": entry.folder,
        "reason": entry.reason,
    }
    if results is None:
        return told
    field = counted_success(results)
    rows = results["rows"]
    planner = rows.get("planner")
    return told | {
        "success_read": "any_time" if field == "success" else "end",
        "rule": results["protocol"]["rule"],
        "instances": results["episodes"],
        "instances_sha256": results["instances_sha256"],
        "planner_seeds": results["planner"]["seeds"],
        "planner": planner and _rate(planner, field),
        "planner_any_time": planner and _rate(planner, "success"),
        "planner_at_end": planner and _rate(planner, "success_at_end"),
        "solved_instances": _solved(results),
        "planner_without_solved": planner and _without(planner, field),
        **{name: _rate(rows[name], field) if name in rows else None for name in ("noop", "random", "replay", "oracle")},
        "noop_without_solved": _without(rows["noop"], field) if "noop" in rows else None,
        "plan_ms": None if planner is None else planner["plan_ms"],
    }


def _rate(figures: Mapping[str, Any], field: str) -> dict[str, Any]:
    return {"success": figures[field], "ci95": figures[f"{field}_ci95"]}


def _without(figures: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    """Without the instances that doing nothing solves; None where none is left, or the protocol refuses them."""
    rest = figures.get("without_solved")
    return None if rest is None else _rate(rest, field)


def _solved(results: Mapping[str, Any]) -> int | None:
    """How many instances doing nothing solves, where the protocol keeps such."""
    if not results["protocol"].get("keep_solved"):
        return None
    rest = next(iter(results["rows"].values()))["without_solved"]
    return int(results["episodes"] - (0 if rest is None else rest["episodes"]))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown, and what its columns mean."""
    lines = ["# Suites", "", f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(cells(one))} |" for one in rows]
    notes = [f"- {one}" for one in reasons(rows)]
    return "\n".join([*lines, "", NOTE, "", *notes, *([""] if notes else [])])


NOTE = (
    "Held-out instances x planner seeds; success is read as the protocol reads it, with Wilson's 95 % interval. "
    "Published figures are their authors', on instances of theirs. Without solved: without instances that doing "
    "nothing solves. Plan: p50."
)


def cells(one: Mapping[str, Any]) -> list[str]:
    """A row as text."""
    published = "; ".join(f"{figure['success']:g} ({figure['by']})" for figure in one["published"]) or "none"
    names = [one["task"], one["protocol"], published, one["model"] or "none"]
    if "instances" not in one:
        return [*names, "–", "not run", *["–"] * (len(HEAD) - len(names) - 2)]
    median = (one["plan_ms"] or {}).get("p50")
    return [
        *names,
        f"{one['instances']} x {one['planner_seeds']}",
        shown(one["planner"]),
        shown(one["planner_without_solved"]),
        share(one["noop"]),
        share(one["replay"]),
        "–" if median is None else f"{median:.0f}",
    ]


def reasons(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why rows have no figures, or none of a planner: each reason once, after the rows that it is for."""
    found: dict[str, list[str]] = {}
    for one in rows:
        if one["reason"]:
            model = f" ({one['model']})" if one["model"] else ""
            found.setdefault(one["reason"], []).append(f"{one['task']} {one['protocol']}{model}")
    return [f"{', '.join(names)}: {reason}" for reason, names in found.items()]


def shown(rate: Mapping[str, Any] | None) -> str:
    """A rate in % with its interval."""
    if rate is None:
        return "–"
    low, high = (f"{100 * end:.1f}" for end in rate["ci95"])
    return f"{share(rate)} [{low}, {high}]"


def share(rate: Mapping[str, Any] | None) -> str:
    """A rate in %."""
    return "–" if rate is None else f"{100 * rate['success']:.1f}"
