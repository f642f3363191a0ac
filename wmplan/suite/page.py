"""table.html: the table of a suite with charts and films, one file that a browser shows without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from wmplan.atomic_io import write_durably
from wmplan.evaluation.results import counted_success
from wmplan.report.charts import card
from wmplan.report.films import choose_films, make_films
from wmplan.report.page import page, video
from wmplan.report.plots import Bar, bar_chart
from wmplan.suite.entries import Entry
from wmplan.suite.table import HEAD, NOTE, cells, reasons, row

FILMS = 2
"""Of each row: a failure and a success where there are both."""
MOST_BARS = 3
"""Published figures beside the one measured here."""


def write_page(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write table.html, and the films that it shows beside their episodes."""
    measured = [entry.measured(folder) for entry in entries]
    rows = [row(entry, results) for entry, results in measured]
    films = [shown for entry, results in measured if results for shown in _films(folder, entry, results)]
    dates = [results["date"] for _, results in measured if results]
    body = [
        f'<h2>Success</h2><div class="card scroll">{_table(rows)}</div>',
        f'<p class="soft" style="margin-top:10px">{escape(NOTE)}</p>',
        *(f'<p class="soft">{escape(one)}</p>' for one in reasons(rows)),
        f'<div class="films">{"".join(map(_chart, rows))}</div>',  # of one size, however few
        f'<h2>Episodes</h2><div class="films">{"".join(films)}</div>' if films else "",
        f'<h2>Published figures</h2><div class="card scroll">{_sources(rows)}</div>',
    ]
    text = page("Suites", "Tasks by their published protocols", _tiles(rows), "".join(body), max(dates, default=None))
    path = folder / "table.html"
    write_durably(path, lambda file: file.write(text.encode()))
    return path


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = (f'<th style="white-space: normal">{escape(name)}</th>' for name in HEAD)
    lines = [f"<tr>{''.join(heads)}</tr>"]
    for one in rows:
        # Of what is published the best; all of it stands below, with sources.
        task, *shown = map(escape, cells({**one, "published": one["published"][:1]}))
        if "instances" in one:
            task = f'<a href="{escape(one["folder"], quote=True)}/report.html">{task}</a>'
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in (task, *shown))}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _tiles(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    planned = [one for one in rows if one.get("planner")]
    compared = [one for one in planned if one["published"]]
    above = [one for one in compared if 100 * one["planner"]["success"] > one["published"][0]["success"]]
    shown = [(f"{len(planned)} of {len(rows)}", "rows planned with a model")]
    if compared:
        shown.append((f"{len(above)} of {len(compared)}", "above the best published figure"))
    if planned:
        slowest = max(one["plan_ms"]["p50"] for one in planned)
        shown.append((f"{slowest:.0f} ms", "for one plan (p50), the slowest row"))
    return shown


def _chart(one: Mapping[str, Any]) -> str:
    """What is published beside what was measured; nothing where either is missing."""
    if not one.get("planner") or not one["published"]:
        return ""
    bars = [
        Bar(figure["by"].split(",")[0], figure["success"] / 100, colour=5) for figure in one["published"][:MOST_BARS]
    ]
    rate = one["planner"]
    note = f"{100 * rate['success']:.0f} %"
    bars.append(Bar("here", rate["success"], tuple(rate["ci95"]), note))
    title = f"{one['task']}, {one['protocol']}"
    return card(title, bar_chart(title, bars, "success", percent=True))


def _films(folder: Path, entry: Entry, results: Mapping[str, Any]) -> list[str]:
    """Figures with a film each."""
    run = folder / entry.folder
    read = counted_success(results)
    records = choose_films(results["per_episode"], FILMS, read)
    shown = []
    for record, film in zip(records, make_films(run, results, records), strict=True):
        said, tag = ("reached", "good") if record[read] else ("failed", "bad")
        shown.append(
            f'<figure class="card">{video(film.read_bytes())}<figcaption><span class="tag {tag}">{said}</span>'
            f"<span>{escape(entry.benchmark.task)}, {escape(entry.benchmark.protocol + entry.part)}</span>"
            "</figcaption></figure>"
        )
    return shown


def _sources(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = ["<tr><th>task</th><th>protocol</th><th>success %</th><th>of</th><th>source</th></tr>"]
    told = {(one["task"], one["protocol"]): one["published"] for one in rows}
    for (task, protocol), published in told.items():
        for figure in published:
            figures = [task, protocol, f"{figure['success']:g}", figure["by"], figure["source"]]
            lines.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in figures)}</tr>")
    return f"<table>{''.join(lines)}</table>" if len(lines) > 1 else "None is published on these tasks."
