"""The charts of a report: success by row and by start distance, planning times, costs and distances over an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from wmplan.evaluation.intervals import wilson
from wmplan.evaluation.results import counted_success
from wmplan.evaluation.rollout import Arrays, load_episode
from wmplan.report.plots import Bar, Line, bar_chart, histogram, line_chart

Json = Mapping[str, Any]
WHEN = {"success": "any time", "success_at_end": "at the end"}
MOST_LINES = 40
"""Single episodes drawn in one chart."""


def chart_cards(folder: Path, results: Json) -> str:
    """All charts of a result folder, as HTML."""
    records = [one for one in results["per_episode"] if one["row"] == "planner"]
    shown = {"Success by row (95 % intervals)": by_row(results)}
    if records:
        episodes = [load_episode(folder / one["file"]) for one in records if (folder / one["file"]).exists()]
        success = counted_success(results)
        reached = [bool(one[success]) for one in records if (folder / one["file"]).exists()]
        times = results["rows"]["planner"]["plan_ms"]
        marks = [(times[name], f"{name} {times[name]:.1f} ms") for name in ("p50", "p95", "p99") if times[name]]
        if records[0]["start_distance"] is not None:
            shown["Success by distance of the start"] = by_start_distance(records, success=success)
            shown["Distance to the goal"] = distance_curves(episodes, reached)
        shown |= {
            "Cost of the chosen plan": cost_curves(episodes, reached),
            "Time for one plan": histogram(
                "Time for one plan", [t for o in records for t in o["plan_ms"]], "ms", marks
            ),
            "When the goal is reached": arrival_curves(results),
        }
    return "".join(card(title, chart) for title, chart in shown.items() if chart)


def card(title: str, body: str, note: str = "") -> str:
    """A card of the page."""
    below = f'<p class="soft" style="margin:8px 0 0;font-size:.85rem">{note}</p>' if note else ""
    return f'<div class="card"><h3>{escape(title)}</h3>{body}{below}</div>'


def by_row(results: Json) -> str:
    """Success of each row by the rule that decides, with intervals."""
    success = counted_success(results)
    bars = []
    for name, row in results["rows"].items():
        rate, ends = row[success], tuple(row[f"{success}_ci95"])
        bars.append(Bar(name, rate, ends, f"{100 * rate:.0f} %", 0 if name == "planner" else 5))
    return bar_chart("Success by row", bars, f"rule {results['protocol']['rule']}, {WHEN[success]}", percent=True)


def by_start_distance(records: Sequence[Json], most: int = 6, success: str = "success") -> str:
    """Success in groups of equal size by the start's distance, with Wilson intervals."""
    bars = distance_groups(records, most, success)
    return bar_chart(
        "Success by distance of the start", bars, f"success, {WHEN[success]}", "distance of the start", percent=True
    )


def distance_groups(records: Sequence[Json], most: int, success: str = "success") -> list[Bar]:
    """A bar for each of at most `most` groups."""
    ordered = sorted(records, key=lambda one: one["start_distance"])
    groups = np.array_split(np.arange(len(ordered)), max(1, min(most, len(ordered) // 5)))
    bars = []
    for group in groups:
        own = [ordered[i] for i in group]
        reached = sum(bool(one[success]) for one in own)
        label = f"{own[0]['start_distance']:.1f}–{own[-1]['start_distance']:.1f}"
        bars.append(Bar(label, reached / len(own), wilson(reached, len(own)), f"{reached}/{len(own)}"))
    return bars


def distance_curves(episodes: Sequence[Arrays], reached: Sequence[bool]) -> str:
    """Distance to the goal over robot steps, apart for episodes that reached it and that did not."""
    curves = [episode["distance"] for episode in episodes]
    top = float(np.quantile(np.concatenate(curves), 0.98)) if curves else 1.0
    return curve_chart(
        "Distance to the goal", curves, reached, "robot step", "task's distance", (0.0, top), (1.0, "rule")
    )


def cost_curves(episodes: Sequence[Arrays], reached: Sequence[bool]) -> str:
    """Cost of the chosen plans over replans, relative to the episode's first."""
    curves = []
    for episode in episodes:
        cost = episode["plan_cost"]
        first = abs(cost[0]) if len(cost) and np.isfinite(cost[0]) and cost[0] else 1.0
        curves.append(np.where(np.isfinite(cost), cost / first, np.nan))
    known = [curve for curve in curves if np.isfinite(curve).any()]
    if not known:
        return ""
    every = np.concatenate(known)
    every = every[np.isfinite(every)]
    low, high = np.quantile(every, [0.01, 0.98])
    limits = (min(0.0, float(low)), float(high) or 1.0)
    return curve_chart("Cost of the chosen plan", curves, reached, "plan", "cost over the first plan's", limits)


def curve_chart(
    title: str,
    curves: Sequence[Any],
    reached: Sequence[bool],
    x_label: str,
    y_label: str,
    limits: tuple[float, float],
    guide: tuple[float, str] | None = None,
) -> str:
    """Single curves, pale, under the medians of those that reached the goal and those that did not."""
    lines = []
    for success, colour in ((False, 1), (True, 2)):
        own = [curve for curve, one in zip(curves, reached, strict=True) if one == success]
        for curve in own[:MOST_LINES]:
            lines.append(Line("", range(len(curve)), curve.tolist(), colour=colour, faint=True))
    for success, colour, name in ((False, 1, "failed, median"), (True, 2, "reached, median")):
        own = [curve for curve, one in zip(curves, reached, strict=True) if one == success and len(curve)]
        if own:
            longest = max(map(len, own))
            padded = np.full((len(own), longest), np.nan)
            for index, curve in enumerate(own):
                padded[index, : len(curve)] = curve
            seen = ~np.isnan(padded).all(axis=0)
            middle = [float(np.nanmedian(padded[:, i])) if seen[i] else None for i in range(longest)]
            lines.append(Line(name, range(longest), middle, colour=colour))
    return line_chart(title, lines, x_label, y_label, y_range=limits, guide=guide)


def arrival_curves(results: Json) -> str:
    """Share of the episodes that have reached the goal by each robot step."""
    budget = results["protocol"]["budget"]
    lines = []
    for colour, name in enumerate(results["rows"]):
        steps = [one["success_step"] for one in results["per_episode"] if one["row"] == name]
        share = [sum(s is not None and s <= t for s in steps) / max(len(steps), 1) for t in range(budget + 1)]
        lines.append(Line(name, range(budget + 1), share, colour=min(colour, 5)))
    return line_chart("When the goal is reached", lines, "robot step", "share of episodes", y_range=(0.0, 1.0))
