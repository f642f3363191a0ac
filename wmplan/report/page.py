"""report.html: one file with all that an evaluation found, which a browser shows without a network."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from wmplan.atomic_io import write_durably
from wmplan.counted import counted
from wmplan.deprecated import with_new_keys
from wmplan.evaluation.instance_sources import flag_said, instances_said
from wmplan.evaluation.intervals import wilson
from wmplan.evaluation.results import counted_success, load_results
from wmplan.evaluation.success import ENVIRONMENT
from wmplan.registry import task_key
from wmplan.report.charts import chart_cards
from wmplan.report.diagnosis_section import diagnosis_section
from wmplan.report.films import choose_films, make_films

Json = Mapping[str, Any]


def write_report(folder: str | Path, *, films: int = 12) -> Path:
    """Make the films of a result folder and its report.html, with its diagnosis if there is one.

    Args:
        folder: of a finished evaluation.
        films: how many to show at most; failures come first.

    Returns:
        The path of report.html.

    Raises:
        UserError: if the folder holds no result.
    """
    folder = Path(folder)
    results = load_results(folder)
    records = choose_films(results["per_episode"], films, counted_success(results))
    shown = [
        (record, path.read_bytes()) for record, path in zip(records, make_films(folder, results, records), strict=True)
    ]
    found = folder / "diagnosis.json"
    diagnosis = json.loads(found.read_text(encoding="utf-8")) if found.exists() else None
    text = render(results, chart_cards(folder, results), shown, diagnosis)
    path = folder / "report.html"
    write_durably(path, lambda file: file.write(text.encode()))
    return path


def render(results: Json, charts: str, films: Sequence[tuple[Json, bytes]], diagnosis: Json | None = None) -> str:
    """The page of an evaluation.

    Args:
        results: content of results.json.
        charts: cards of charts, as HTML.
        films: records of episodes, with their mp4.
        diagnosis: content of diagnosis.json.
    """
    model, protocol = results["model"], results["protocol"]
    instances, goal = instances_said(results)
    episodes = counted(len(results["per_episode"]), "episode")
    body = [
        f'<h2>Success</h2><div class="card scroll">{success_table(results)}</div>',
        f'<p class="soft" style="margin-top:10px">{table_note(results)}</p>{unsolved(results)}',
        f'<div class="grid">{charts}</div>',
        "" if diagnosis is None else diagnosis_section(diagnosis),
        gallery(films, counted_success(results)),
        f'<h2>How it was measured</h2><div class="grid">{facts(results)}</div>',
        f'<h2>Every episode</h2><div class="card"><details><summary>{episodes}</summary>'
        f'<div class="scroll">{episode_table(results)}</div></details></div>',
    ]
    return page(
        f"{model['name'] if model else 'no model'} on {task_name(results['task'])}",
        f"{instances}, {goal}, {protocol['budget']} steps to reach it, shown as {protocol['goal']}",
        tiles(results),
        "".join(body),
        results.get("date"),
    )


def page(heading: str, subtitle: str, tiles: Sequence[tuple[str, str]], body: str, date: str | None) -> str:
    """A whole page: plain heading, subtitle and tiles (figure, what it is), a body of HTML, and its results' date.

    Results of older versions have no date; the page then says nothing of it.
    """
    template = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))
    tile = '<div class="card tile"><b>{}</b><span class="soft">{}</span></div>'
    return template.substitute(
        version=version("wmplan"),
        title=escape(f"{heading} · wmplan"),
        heading=escape(heading),
        subtitle=escape(subtitle),
        tiles="".join(tile.format(escape(figure), escape(text)) for figure, text in tiles),
        body=body,
        made=escape(f"Measured on {date.replace('T', ' ').replace('Z', ' UTC')} with" if date else "Made with"),
    )


# ------------------------------------------------------------------ what was found


def tiles(results: Json) -> list[tuple[str, str]]:
    """The figures that matter most."""
    rows, rule = results["rows"], results["protocol"]["rule"]
    shown = []
    if "planner" in rows:
        row = rows["planner"]
        reached = (percent(row["success"]), f"reach the goal ({rule}), 95 % {interval(row['success_ci95'])}")
        at_end = (percent(row["success_at_end"]), "are there at the end")
        shown += [at_end, reached] if counted_success(results) == "success_at_end" else [reached, at_end]
        others = {rule, ENVIRONMENT} if flag_said(results) else {rule}
        for other, figures in row["rules"].items():
            if other not in others:
                shown.append((percent(figures["success"]), f"by the rule {other}, {interval(figures['success_ci95'])}"))
        shown.append((milliseconds(row["plan_ms"]["p50"]), "for one plan (p50), from frame to action"))
        if "oracle" in rows and rows["oracle"]["success"]:
            share = row["success"] / rows["oracle"]["success"]
            shown.append((percent(share), "of the oracle's success with the same search"))
    return shown


def success_table(results: Json) -> str:
    """Rows by rules, any time and at the end."""
    rules = list(next(iter(results["rows"].values()))["rules"])
    head = "".join(f"<th>{escape(rule)}<br>any time</th><th>{escape(rule)}<br>at end</th>" for rule in rules)
    lines = [
        f"<tr><th>row</th>{head}<th>gap<br>closed</th><th>closest<br>distance</th><th>final<br>distance</th>"
        "<th>ms a plan<br>p50 / p95 / p99</th><th>robot<br>steps</th><th>effective<br>episodes</th></tr>"
    ]
    for name, row in results["rows"].items():
        cells = "".join(
            f"<td>{percent(row['rules'][rule][kind])}<small>{interval(ends(row, rule, kind))}</small></td>"
            for rule in rules
            for kind in ("success", "success_at_end")
        )
        times = row["plan_ms"]
        spent = "–" if times["p50"] is None else " / ".join(f"{times[key]:.1f}" for key in ("p50", "p95", "p99"))
        lines.append(
            f'<tr class="{"main" if name == "planner" else ""}"><td>{escape(name)}</td>{cells}'
            f"<td>{'–' if row['gap_closed'] is None else percent(row['gap_closed'])}</td>"
            f"<td>{distance(row['min_distance'])}</td><td>{distance(row['final_distance'])}</td>"
            f"<td>{spent}</td><td>{row['env_steps']}</td><td>{row['effective_n']:g}</td></tr>"
        )
    for name, row in results["rows"].items():
        if len(row["streams"]) > 1:
            columns = rules.index(results["protocol"]["rule"]), len(rules)
            lines += [stream_line(name, one, *columns) for one in row["streams"]]
    return f"<table>{''.join(lines)}</table>"


def unsolved(results: Json) -> str:
    """The same table without the instances that doing nothing solves, where the protocol keeps such; else nothing."""
    rest = {name: row.get("without_solved") for name, row in results["rows"].items()}
    count = next(iter(rest.values()))
    if count is None or count["episodes"] == results["episodes"]:
        return ""
    solved = counted(results["episodes"] - count["episodes"], "instance")
    table = success_table({**results, "rows": rest})
    return f'<h2>Without {solved} that doing nothing solves</h2><div class="card scroll">{table}</div><p></p>'


def stream_line(name: str, stream: Json, rule: int, rules: int) -> str:
    """One random stream of a row, in the columns of the rule that decides, which is number `rule` of `rules`."""
    before = f'<td colspan="{2 * rule}"></td>' if rule else ""
    return (
        f'<tr class="soft"><td>{escape(name)}, stream {stream["planner_seed"]}</td>{before}'
        f"<td>{percent(stream['success'])}<small>{interval(stream['success_ci95'])}</small></td>"
        f'<td>{percent(stream["success_at_end"])}</td><td colspan="{2 * (rules - 1 - rule) + 6}"></td></tr>'
    )


def ends(row: Json, rule: str, kind: str) -> Sequence[float]:
    """The interval of a rate; Wilson's at the row's effective number of episodes where the result has none."""
    given = row["rules"][rule].get(f"{kind}_ci95")
    if given is not None:
        return given
    trials = row["effective_n"]
    return wilson(row["rules"][rule][kind] * trials, trials)


def table_note(results: Json) -> str:
    """What the columns mean, and a warning where something is wrong."""
    text = (
        "Brackets: Wilson intervals at 95 %. Any time: the rule held after some robot step within the budget. "
        "Gap closed: share of the start's distance that is gone at the end. Distances are the task's own: about 1 "
        "where its first rule begins to hold."
    )
    flag = flag_said(results)
    if flag is not None:
        text += f" {escape(flag)}."
    replay = results["rows"].get("replay")
    if replay is not None and replay["success"] < 1:
        text += f' <b class="bad">Replay reaches only {percent(replay["success"])}: states or rules are wrong.</b>'
    return text


def video(film: bytes) -> str:
    """A film (mp4) that plays in the page; a click stops it: a player's bar would cover half of so small a picture."""
    data = base64.b64encode(film).decode()
    pause = "this.paused ? this.play() : this.pause()"
    return (
        f'<video autoplay loop muted playsinline tabindex="0" title="a click stops and starts it" onclick="{pause}" '
        f'src="data:video/mp4;base64,{data}"></video>'
    )


def gallery(films: Sequence[tuple[Json, bytes]], success: str) -> str:
    """The films, playing in the page; `success` is the field that counts."""
    if not films:
        return ""
    figures = []
    for record, film in films:
        reached = record[success]
        step = record["success_step"]
        said = f"closest {distance(record['min_distance'])}" if step is None else f"there after {step} steps"
        if record["success"] and not reached:
            said += ", not at the end"
        stream = f".{record['planner_seed']}" if record["planner_seed"] else ""
        figures.append(
            f'<figure class="card">{video(film)}<figcaption><span class="tag {"good" if reached else "bad"}">'
            f"{'reached' if reached else 'failed'}</span><span>instance {record['instance']}{stream}</span>"
            f'<span class="soft">start {distance(record["start_distance"])}, {said}</span></figcaption></figure>'
        )
    return f'<h2>Episodes</h2><p class="soft">Failures first.</p><div class="films">{"".join(figures)}</div>'


# ------------------------------------------------------------------ how it was found


def facts(results: Json) -> str:
    """Protocol, planner, model, machine, versions and the command."""
    cards = {
        "Protocol": {
            "task": results["task"],
            **results["protocol"],
            "episodes": results["episodes"],
            "seed": results["seed"],
            "instances_sha256": results["instances_sha256"],
        },
        "Planner": results["planner"],
        "Model": results["model"] or {},
        "Machine and versions": {**results["machine"], **results["versions"]},
    }
    shown = "".join(
        f'<div class="card"><h3>{title}</h3>{facts_list(content)}</div>' for title, content in cards.items()
    )
    return shown + command_card("wmplan eval", command_settings(results))


def command_card(name: str, settings: Json) -> str:
    """The command that gives the same result again; settings of None are those that nobody chose."""
    words = (f"{key}={plain(value)}" for key, value in settings.items() if value is not None)
    return (
        f'<div class="card"><h3>Command</h3><pre>{escape(f"{name} " + " ".join(map(shlex.quote, words)))}</pre></div>'
    )


def facts_list(content: Json) -> str:
    """Names and values."""
    items = (f"<dt>{escape(str(key))}</dt><dd>{escape(plain(value))}</dd>" for key, value in content.items())
    return f"<dl>{''.join(items)}</dl>"


def plain(value: Any) -> str:
    """A value as it would be written in a configuration."""
    return value if isinstance(value, str) else json.dumps(value)


def command_settings(results: Json) -> dict[str, Any]:
    """What to give `wmplan eval` for the same result."""
    settings, protocol, planner = results["settings"], results["protocol"], dict(results["settings"]["planner"])
    return {
        "model": settings["model"],
        "task": task_key(settings["task"]),
        "episodes": results["episodes"],
        "seed": results["seed"],
        "instances": settings.get("instances"),
        "planner_seeds": results["planner"]["seeds"],
        "rows": f"[{','.join(results['rows'])}]",
        "protocol": protocol.get("name"),
        **{f"protocol.{name}": value for name, value in protocol.items() if name not in ("name", "held_out")},
        "planner": planner.pop("name", None),
        **{f"planner.{name}": value for name, value in planner.items()},
        **{f"schedule.{name}": value for name, value in with_new_keys(settings["schedule"]).items()},
        "out": "DIR",
    }


def episode_table(results: Json) -> str:
    """All episodes, a line each."""
    names = ["row", "planner_seed", "instance", "success", "success_step", "success_at_end", "start_distance"]
    names += ["min_distance", "final_distance", "gap_closed", "env_steps"]
    lines = ["<tr>" + "".join(f"<th>{name.replace('_', ' ')}</th>" for name in names) + "</tr>"]
    for one in results["per_episode"]:
        lines.append("<tr>" + "".join(f"<td>{cell(one[name])}</td>" for name in names) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def cell(value: Any) -> str:
    """A value in the table of episodes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


def task_name(task: str) -> str:
    """The task without namespace and version."""
    return task.rsplit("/", 1)[-1].rsplit("-v", 1)[0]


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def distance(value: float | None) -> str:
    """A distance for people; there is none where the task measures none."""
    return "–" if value is None else f"{value:.2f}"


def interval(ends: Sequence[float]) -> str:
    """An interval of shares for people."""
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def milliseconds(value: float | None) -> str:
    """A time for people."""
    return "–" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
