"""The section "Why it fails" of a report, from diagnosis.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from wmplan.diagnosis.attribution import PARTS
from wmplan.diagnosis.summary import KINDS, STATES, figures, readable
from wmplan.report.charts import card
from wmplan.report.plots import INK, Bar, Line, bar_chart, chart, draw_lines, line_chart

Json = Mapping[str, Any]
PART_COLOUR = {part: colour for colour, part in enumerate(PARTS)}


def diagnosis_section(diagnosis: Json) -> str:
    """The whole section."""
    charts = [
        card("What failures are put down to", verdicts(diagnosis)),
        card(
            "What happens when a part is replaced",
            swaps(diagnosis),
            "Failed episodes played again: the planner's cost replaced by the distance that a probe, trained with true "
            "states, reads off the same predicted latents; or model and cost by the true simulator and distance.",
        ),
        card(
            "Does the cost order candidates as their outcomes do?",
            rank_chart(diagnosis),
            "Spearman's rank correlation with the true distance over the planner's own candidates, mean over replans.",
        ),
        card(
            "Error of states read off latents",
            error_chart(diagnosis),
            "Median over replans, in the task's distance, by model step of the chosen plan: off the latents of the "
            "frames that really come, and off those predicted.",
        ),
        card("The replan with the most regret", scatter_chart(diagnosis), scatter_note(diagnosis)),
        card("Which part of the state", state_table(diagnosis), "Medians over the failures that were looked at."),
        card("What the latents hold", probe_table(diagnosis), "Error of the probes on fresh episodes."),
    ]
    return (
        f'<h2>Why it fails</h2><p class="soft">{diagnosis["failures"]} failures and {diagnosis["successes"]} '
        f"successes by the rule {escape(diagnosis['rule'])} looked at, see <code>wmplan diagnose</code>.</p>"
        f'<div class="grid">{"".join(charts)}</div>'
        f'<div class="card scroll" style="margin-top:14px">{episode_table(diagnosis)}</div>'
    )


def verdicts(diagnosis: Json) -> str:
    """Number of failures by part."""
    counts = diagnosis["verdicts"]
    bars = [Bar(part, counts[part], None, str(counts[part]), PART_COLOUR[part]) for part in PARTS]
    return bar_chart("Failures by part", bars, "failures")


def swaps(diagnosis: Json) -> str:
    """Success of failed episodes with a part replaced."""
    found = diagnosis["swaps"]["failed"]
    bars = [Bar("as it was", 0.0 if diagnosis["failures"] else None, None, f"0/{diagnosis['failures']}", 5)]
    for name, label in (("with_probe", "probe's distance"), ("with_oracle", "simulator and distance")):
        played, success = found[name]["played"], found[name]["success"]
        bars.append(Bar(label, success / played if played else None, None, f"{success}/{played}", 2))
    return bar_chart("Success with a part replaced", bars, "success", percent=True)


def rank_chart(diagnosis: Json) -> str:
    """Rank correlation by iteration."""
    lines = []
    for kind, colours in zip(KINDS, ((1, 0), (2, 4)), strict=True):
        found = diagnosis["rank_correlation"][kind]
        if found is None:
            continue
        steps = [i + 1 for i in found["iterations"]]
        for name, colour in zip(("cost", "probe"), colours, strict=True):
            middle = [one["middle"] for one in found[name]]
            band = [None if one["low"] is None else (one["low"], one["high"]) for one in found[name]]
            label = f"{name}, {kind}"
            lines.append(Line(label, steps, middle, band if name == "cost" else None, colour))
    lowest = min((y for line in lines for y in line.y if y is not None), default=0.0)
    limits = (min(0.0, lowest), 1.0)
    return line_chart("Rank correlation", lines, "iteration", "rank correlation", y_range=limits, whole_x=True)


def error_chart(diagnosis: Json) -> str:
    """Errors by step of the plan."""
    lines = []
    for kind, colours in zip(KINDS, ((0, 1), (4, 2)), strict=True):
        found = diagnosis["error_by_step"][kind]
        if found is None:
            continue
        for name, colour in zip(("encoder_error", "predictor_error"), colours, strict=True):
            steps = range(1, len(found[name]) + 1)
            label = f"{'seen' if name == 'encoder_error' else 'predicted'}, {kind}"
            lines.append(Line(label, steps, [one["middle"] for one in found[name]], None, colour))
    guide = (1.0, "rule")
    return line_chart("Error by step", lines, "model step of the plan", "task's distance", whole_x=True, guide=guide)


def scatter_chart(diagnosis: Json) -> str:
    """Cost against true distance, first and last iteration apart, with the chosen and a better plan."""
    found = diagnosis["scatter"]
    if found is None:
        return ""
    rows = [(found["cost"][0], found["true"][0], 5, "first iteration")]
    if len(found["cost"]) > 1:
        middle = list(zip(found["cost"][1:-1], found["true"][1:-1], strict=True))
        rows += [(cost, true, 0, "between" if i == 0 else "") for i, (cost, true) in enumerate(middle)]
        rows.append((found["cost"][-1], found["true"][-1], 1, "last iteration"))
    pairs = [found[name] for name in ("chosen", "better") if found[name]["cost"] is not None]
    ys = [y for cost, _, _, _ in rows for y in cost if y is not None] + [one["cost"] for one in pairs]
    if not ys:
        return ""
    lines = [Line(name, true, cost, None, colour, dots=True) for cost, true, colour, name in rows]

    def draw(axes: Any) -> None:
        draw_lines(axes, lines, "true distance of the outcome", "cost", padded(ys))
        for name in ("chosen", "better"):
            place = (found[name]["true"], found[name]["cost"])
            if place[1] is not None:
                axes.plot(*place, marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
                axes.annotate(name, place, (7, -3), textcoords="offset points")

    return chart("Cost against true distance", draw)


def scatter_note(diagnosis: Json) -> str:
    """Which replan that is."""
    found = diagnosis["scatter"]
    if found is None:
        return ""
    return (
        f"Instance {found['instance']}, robot step {found['step']}: the planner's candidates. A good cost rises from "
        "left to right. Better: found with the true simulator, starting from the chosen plan."
    )


def padded(values: Sequence[float]) -> tuple[float, float]:
    """The range of values, with some room."""
    room = 0.06 * ((max(values) - min(values)) or 1.0)
    return min(values) - room, max(values) + room


def state_table(diagnosis: Json) -> str:
    """Offsets and errors by entry of the state, for the failures, or the successes where there are none."""
    found = diagnosis["by_state"]["failed"] or diagnosis["by_state"]["succeeded"]
    if found is None:
        return ""
    lines = [
        "<tr><th>state</th>"
        + "".join(f'<th style="white-space:normal">{label}</th>' for label in STATES.values())
        + "</tr>"
    ]
    for name in found["closest"]:
        values = "".join(f"<td>{readable(name, found[key][name]).split(' ', 1)[1]}</td>" for key in STATES)
        lines.append(f"<tr><td>{escape(readable(name, 0.0).split(' ')[0].replace('_', ' '))}</td>{values}</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def probe_table(diagnosis: Json) -> str:
    """Median and 90 % quantile of the probes' errors."""
    kinds = list(diagnosis["probe"])
    head = "".join(f"<th>{kind}<br>median</th><th>{kind}<br>90 %</th>" for kind in kinds)
    lines = [f"<tr><th>state</th>{head}</tr>"]
    for name in diagnosis["probe"][kinds[0]]:
        texts = [readable(name, diagnosis["probe"][kind][name][key]) for kind in kinds for key in ("median", "p90")]
        label = texts[0].split(" ")[0].replace("_", " ")
        values = "".join(f"<td>{text.split(' ', 1)[1]}</td>" for text in texts)
        lines.append(f"<tr><td>{escape(label)}</td>{values}</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def episode_table(diagnosis: Json) -> str:
    """The episodes that were looked at, a line each."""
    heads = ["instance", "start", "closest", "encoder<br>error", "predictor<br>error", "rank<br>first", "rank<br>last"]
    heads += ["regret", "with the<br>probe", "with the<br>oracle", "verdict"]
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for one in diagnosis["episodes"]:
        said = "(succeeded)" if one["verdict"] is None else f"<b>{one['verdict']}</b>"
        lines.append("<tr>" + "".join(f"<td>{text}</td>" for text in [*figures(one), said]) + "</tr>")
    return f"<table>{''.join(lines)}</table>"
