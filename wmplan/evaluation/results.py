"""From the records of episodes to the rows of results.json, and the file itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.checked import json_hash
from wmplan.errors import UserError
from wmplan.evaluation.intervals import effective_trials, percentiles, wilson
from wmplan.evaluation.journal import Record, key

WRITES = ("results.json", "piece.json", "instances.json", "report.html", "diagnosis.json", "episodes")
"""What an evaluation writes into its folder, beside the journal."""

DEADLINES = (0.5, 0.6, 0.8, 1.0)  # shares of the budget by which successes are counted


def assemble(
    head: Mapping[str, Any], rows: Sequence[str], absent: Mapping[str, str], records: Sequence[Record], budget: int
) -> dict[str, Any]:
    """The content of results.json.

    Args:
        head: what stands before the rows: what was played, by whom and on what.
        rows: those that were played, in their order.
        absent: rows that could not be had, with the reason.
        records: of all episodes.
        budget: robot steps that each episode had.
    """
    return {
        **head,
        "rows": {row: _figures(head, [one for one in records if one["row"] == row], budget) for row in rows},
        **({"rows_absent": dict(absent)} if absent else {}),
        "per_episode": sorted(records, key=lambda one: (rows.index(one["row"]), *key(one)[1:])),
    }


def _figures(head: Mapping[str, Any], records: Sequence[Record], budget: int) -> dict[str, Any]:
    """Those of a row; where the protocol keeps solved instances, without them too: None where all are solved."""
    figures = aggregate(records, budget)
    if head["protocol"].get("keep_solved"):
        rest = [one for one in records if not one.get("solved")]
        figures["without_solved"] = aggregate(rest, budget) if rest else None
    return figures


def aggregate(records: Sequence[Record], budget: int) -> dict[str, Any]:
    """The figures of one row from its records, every instance under every stream.

    Args:
        budget: robot steps that each episode had.
    """
    streams = sorted({one["planner_seed"] for one in records})
    success, at_end = _table(records, "success"), _table(records, "success_at_end")
    by_rule = {rule: [{**one, **one["rules"][rule]} for one in records] for rule in records[0]["rules"]}
    return {
        "episodes": len(success),
        **_rate("success", success),
        "effective_n": round(effective_trials(success), 1),
        **_rate("success_at_end", at_end),
        **{name: _mean(records, name) for name in ("gap_closed", "min_distance", "final_distance")},
        "plan_ms": percentiles([ms for one in records for ms in one["plan_ms"]]),
        "env_steps": sum(one["env_steps"] for one in records),
        "rules": {
            rule: {
                **_rate("success", _table(own, "success")),
                **_rate("success_at_end", _table(own, "success_at_end")),
                **times_to_goal([one["success_step"] for one in own], budget),
            }
            for rule, own in by_rule.items()
        },
        "streams": [
            {
                "planner_seed": stream,
                **_rate("success", success[:, [column]]),
                "success_at_end": float(at_end[:, column].mean()),
            }
            for column, stream in enumerate(streams)
        ],
    }


def counted_success(results: Mapping[str, Any]) -> str:
    """By which field of rows and episodes a protocol counts success: "success", at any time, or "success_at_end"."""
    return "success_at_end" if results["protocol"].get("success") == "end" else "success"


def times_to_goal(steps: Sequence[int | None], budget: int) -> dict[str, Any]:
    """Success by deadline, and the median time of the successes.

    Args:
        steps: robot steps after which each episode first succeeded; None for never.
        budget: robot steps that each had.

    Returns:
        `success_by`: share that succeeded within some numbers of robot steps; `median_steps`: None without a success.
    """
    reached = [step for step in steps if step is not None]
    deadlines = sorted({max(1, round(share * budget)) for share in DEADLINES})
    return {
        "success_by": {str(end): sum(step <= end for step in reached) / len(steps) for end in deadlines},
        "median_steps": float(np.median(reached)) if reached else None,
    }


def _table(records: Sequence[Record], field: str) -> NDArray[np.bool_]:
    """A yes-or-no field as an array (instances, streams)."""
    streams = sorted({one["planner_seed"] for one in records})
    instances = sorted({one["instance"] for one in records})
    values = {(one["instance"], one["planner_seed"]): one[field] for one in records}
    return np.array([[values[instance, stream] for stream in streams] for instance in instances], dtype=bool)


def _rate(name: str, outcomes: NDArray[np.bool_]) -> dict[str, Any]:
    """A rate with its interval, Wilson's at the effective number of trials."""
    rate, trials = float(outcomes.mean()), effective_trials(outcomes)
    return {name: rate, f"{name}_ci95": list(wilson(rate * trials, trials))}


def _mean(records: Sequence[Record], field: str) -> float | None:
    """None where the task measures no such thing."""
    values = [one[field] for one in records]
    return None if None in values else float(np.mean(values))


def write_results(path: Path, result: Mapping[str, Any]) -> None:
    """Write results.json durably, one episode a line, with a digest of all of it."""
    head = json.dumps({**result, "sha256": json_hash(result), "per_episode": []}, indent=2, allow_nan=False)
    lines = ",\n".join("    " + json.dumps(one, allow_nan=False) for one in result["per_episode"])
    empty = '"per_episode": []'
    assert head.count(empty) == 1
    text = head.replace(empty, f'"per_episode": [\n{lines}\n  ]') + "\n"
    write_durably(path, lambda file: file.write(text.encode()))


def load_results(folder: Path) -> dict[str, Any]:
    """The results.json of a result folder, as evaluate() returned it.

    Raises:
        UserError: if there is none, or it is damaged, changed or of another schema.
    """
    path = Path(folder) / "results.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no {path}: is {folder} the folder of a finished `wmplan eval`?") from None
    except ValueError as error:
        again = "delete it and run its command again, no finished episode is played twice"
        raise UserError(f"{path} is damaged ({error}): {again}") from error
    if not isinstance(result, dict) or result.get("schema") != 1:
        raise UserError(f"{path} is no result of schema 1")
    expected = result.pop("sha256", None)  # earlier files have none
    if expected is not None and json_hash(result) != expected:
        raise UserError(f"{path} was changed after it was written: its content is not that of its sha256")
    for name in ("rows", "per_episode", "instances_sha256", "settings"):
        if name not in result:
            raise UserError(f"{path} has no {name!r}: it is not of `wmplan eval`")
    return result
