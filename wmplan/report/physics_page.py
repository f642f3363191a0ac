"""The page of an intuitive-physics exam: one file that a browser shows without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.errors import UserError
from wmplan.exam.examine import EXAMPLES, MODEL, RESULT
from wmplan.exam.summary import rows, span, untrained_rates, verdict
from wmplan.report.charts import card
from wmplan.report.film_strip import film_strip, png
from wmplan.report.page import command_card, facts_list, interval, page, percent
from wmplan.report.plots import SOFT, Bar, Line, bar_chart, chart, draw_lines

Json = Mapping[str, Any]
Examples = Mapping[str, NDArray[Any]]
KINDS = {"occluded": "behind a screen", "in_view": "in plain view"}


def write_physics_report(folder: str | Path) -> Path:
    """Make report.html of an exam's folder.

    Raises:
        UserError: if the folder holds no exam.
    """
    folder = Path(folder)
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        with np.load(folder / EXAMPLES) as file:
            examples = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}/{RESULT} cannot be read ({error}): run wmplan physics first") from None
    text = render(result, examples)
    path = folder / "report.html"
    write_durably(path, lambda file: file.write(text.encode()))
    return path


def render(result: Json, examples: Examples) -> str:
    """The page of an exam.json and the clips beside it."""
    asked = list(result["severity"])
    body = [
        f'<h2>Pairs won</h2><div class="card scroll">{accuracy_table(result)}</div>',
        f'<p class="soft" style="margin-top:10px">{escape(said(result))}</p>',
        f'<div class="grid">{card("Pairs won by the model (95 % intervals)", bars(result))}'
        f"{card('Behind a screen and in plain view', parts_chart(result))}</div>",
        f'<h2>Surprise over time</h2><p class="soft">Mean over all clips, by the last frame of the window. At 0 the '
        f'world is exchanged.</p><div class="grid">{"".join(curve_card(result, name) for name in asked)}</div>',
        '<h2>Clips</h2><p class="soft">A possible clip above the impossible one that begins alike; red frames are of '
        "the other world. Beside each the model's surprise at the two.</p>",
        "".join(clip_card(result, examples, name) for name in asked),
        f'<h2>By severity</h2><div class="card scroll">{severity_table(result)}</div>',
        f'<h2>How it was measured</h2><div class="grid">{facts(result)}</div>',
    ]
    return page(
        f"{result['model']['name']}: intuitive physics",
        f"{result['pairs']} pairs of worlds a property, exam {result['exam']}, seed {result['seed']}",
        tiles(result),
        "".join(body),
        result["date"],
    )


def said(result: Json) -> str:
    """The verdict as sentences."""
    return " ".join(f"{one[0].upper()}{one[1:]}." for one in verdict(result))


def tiles(result: Json) -> list[tuple[str, str]]:
    """The figures that matter most."""
    shown = [(percent(result["rows"][MODEL]["mean"]), "of pairs won, mean over properties")]
    shown.append((percent(result["rows"][MODEL]["mean_quadruplets"]), "of quadruplets, which show the same frames"))
    if untrained_rates(result, "mean"):
        shown.append((span(untrained_rates(result, "mean")), "untrained networks, mean and range"))
    shown += [(percent(row["mean"]), name) for name, row in rows(result).items() if name != MODEL]
    return shown


def accuracy_table(result: Json) -> str:
    """Pairwise accuracy of all subjects, and what else is known of the model."""
    asked, shown = list(result["severity"]), rows(result)
    others = [name for name in shown if name != MODEL]
    heads = [*others, "untrained<br>mean (range)", "quadruplets", "AUROC", "recoloured above<br>possible", "violation"]
    lines = [f"<tr><th>property</th><th>model</th>{''.join(f'<th>{one}</th>' for one in heads)}</tr>"]
    for name in asked:
        own = shown[MODEL][name]
        cells = [f"{percent(own['pairwise']['rate'])}<small>{interval(own['pairwise']['ci95'])}</small>"]
        cells += [percent(shown[other][name]["pairwise"]["rate"]) for other in others]
        cells += [span(untrained_rates(result, name)), percent(own["quadruplets"]["rate"]), f"{own['auroc']:.2f}"]
        cells += [percent(own[f"recoloured_above_{what}"]["rate"]) for what in ("possible", "violation")]
        lines.append(f"<tr><td>{escape(name)}</td>{''.join(f'<td>{one}</td>' for one in cells)}</tr>")
    means = [percent(shown[name]["mean"]) for name in (MODEL, *others)] + [span(untrained_rates(result, "mean"))]
    means.append(percent(shown[MODEL]["mean_quadruplets"]))
    lines.append(f'<tr class="main"><td>mean</td>{"".join(f"<td>{one}</td>" for one in means)}{"<td></td>" * 3}</tr>')
    return f"<table>{''.join(lines)}</table>"


def bars(result: Json) -> str:
    """Pairwise accuracy with intervals, beside the mean of the untrained networks."""
    shown = []
    for name in result["severity"]:
        own = result["rows"][MODEL][name]["pairwise"]
        shown.append(Bar(short(name), own["rate"], tuple(own["ci95"]), f"{100 * own['rate']:.0f}", 0))
        if rates := untrained_rates(result, name):
            shown.append(Bar("", float(np.mean(rates)), (min(rates), max(rates)), "", 5))
    return bar_chart("Pairs won", shown, "blue: the model; grey: untrained networks and their range", percent=True)


def short(name: str) -> str:
    """A property under its bar, where nine stand side by side."""
    return name if len(name) <= 6 else f"{name[:4]}."


def parts_chart(result: Json) -> str:
    """Pairwise accuracy by whether the break is hidden."""
    shown = []
    for name in result["severity"]:
        for colour, part in enumerate(KINDS):
            if (found := result["rows"][MODEL][name][part]) is not None:
                label = short(name) if colour == 0 else ""
                shown.append(Bar(label, found["rate"], tuple(found["ci95"]), f"{100 * found['rate']:.0f}", colour))
    return bar_chart("By occlusion", shown, "blue: behind a screen; orange: in plain view", percent=True)


def curve_card(result: Json, name: str) -> str:
    """Mean surprise of possible and impossible clips around the break."""
    over = result["over_time"][name]
    lines = [
        Line("possible", over["frames_after_break"], over["possible"], None, 0),
        Line("impossible", over["frames_after_break"], over["impossible"], None, 1),
    ]
    return card(name, break_chart(f"Surprise at {name}", lines, 0))


def break_chart(title: str, lines: list[Line], at: int) -> str:
    """Lines over frames, with the break marked."""

    def draw(axes: Any) -> None:
        draw_lines(axes, lines, "frames", "surprise")
        axes.axvline(at, color=SOFT, linewidth=1.1, linestyle="--")

    return chart(title, draw)


def clip_card(result: Json, examples: Examples, name: str) -> str:
    """Film strips of a property, each with the model's surprise."""
    shown = []
    for kind, said in KINDS.items():
        if (key := f"{name}/{kind}") + "/frames" not in examples:
            continue
        begin = int(examples[f"{key}/break_at"])
        strip = png(film_strip(examples[f"{key}/frames"], begin), f"{name}, {said}")
        ends = examples[f"{key}/ends"].tolist()
        lines = [
            Line(label, ends, values.tolist(), None, colour)
            for colour, (label, values) in enumerate(
                zip(("possible", "impossible"), examples[f"{key}/surprise"], strict=True)
            )
        ]
        curve = break_chart(f"Surprise at a clip of {name}, {said}", lines, begin)
        shown.append(
            f'<div class="grid" style="grid-template-columns:2fr 1fr;align-items:center"><div>{strip}</div>'
            f"<div>{curve}</div></div>"
        )
    unit = result["severity"][name]
    return f'<div class="card" style="margin-bottom:14px"><h3>{escape(name)}: {escape(unit)}</h3>{"".join(shown)}</div>'


def severity_table(result: Json) -> str:
    """Pairs won from the mildest third of a property's clips to the most severe."""
    lines = ["<tr><th>property</th><th>mild</th><th>middle</th><th>severe</th></tr>"]
    for name, unit in result["severity"].items():
        cells = [
            f"<td>{percent(group['rate'])}<small>{group['from']:.3g} to {group['to']:.3g}</small></td>"
            for group in result["rows"][MODEL][name]["by_severity"]
        ]
        lines.append(f"<tr><td>{escape(name)}<small>{escape(unit)}</small></td>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def facts(result: Json) -> str:
    """Model, windows, clips, machine and the command."""
    windows = {
        name: {**found["window"], "over_windows": found.get("over_windows", "mean")}
        for name, found in result["windows"].items()
    }
    clips = {key: result[key] for key in ("frames", "rate", "clips_sha256")}
    cards = {
        "Model": result["model"],
        "Windows, chosen on other clips": windows,
        "Clips": clips,
        "Machine and versions": {**result["machine"], **result["versions"]},
    }
    shown = "".join(f'<div class="card"><h3>{name}</h3>{facts_list(content)}</div>' for name, content in cards.items())
    asked = result["settings"]["properties"]
    settings = {**result["settings"], "properties": f"[{','.join(asked)}]" if asked else None, "out": "DIR"}
    return shown + command_card("wmplan physics", settings)
