"""An exam in a table, and what it comes to in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wmplan.exam.examine import MODEL
from wmplan.text_table import table

Json = Mapping[str, Any]
UNTRAINED = "untrained "
LEAST_ABOVE = 0.5
"""Share of pairs in which the recoloured clip may surprise more than the impossible one."""


def rows(result: Json) -> dict[str, Json]:
    """The rows of subjects but the untrained networks, the model first."""
    others = {name: row for name, row in result["rows"].items() if not name.startswith(UNTRAINED) and name != MODEL}
    return {MODEL: result["rows"][MODEL], **others}


def untrained_rates(result: Json, name: str) -> list[float]:
    """Pairwise rates of the untrained networks on a property, or "mean"."""
    found = [row for subject, row in result["rows"].items() if subject.startswith(UNTRAINED)]
    return [row["mean"] if name == "mean" else row[name]["pairwise"]["rate"] for row in found]


def exam_table(result: Json) -> str:
    """Pairwise accuracy of every subject by property, and the verdict."""
    asked, shown = list(result["severity"]), rows(result)
    head = ["property", *shown, "untrained", "quadruplets", "AUROC", "recoloured above"]
    lines = []
    for name in asked:
        own = shown[MODEL][name]
        low, high = own["pairwise"]["ci95"]
        cells = [f"{100 * own['pairwise']['rate']:.0f} ({100 * low:.0f}-{100 * high:.0f})"]
        cells += [f"{100 * row[name]['pairwise']['rate']:.0f}" for subject, row in shown.items() if subject != MODEL]
        above = own["recoloured_above_violation"]["rate"]
        lines.append(
            [name, *cells, span(untrained_rates(result, name))]
            + [f"{100 * own['quadruplets']['rate']:.0f}", f"{own['auroc']:.2f}", f"{100 * above:.0f}"]
        )
    means = [f"{100 * row['mean']:.1f}" for row in shown.values()]
    both = f"{100 * shown[MODEL]['mean_quadruplets']:.1f}"
    lines.append(["mean", *means, span(untrained_rates(result, "mean")), both, "", ""])
    reading = result["windows"][MODEL]
    window = reading["window"]
    return "\n".join(
        [
            table(head, lines),
            "",
            f"pairs won in %, of {result['pairs']} pairs of worlds a property; the window sees {window['context']} "
            f"model steps and predicts {window['ahead']}, {window['stride']} frames each; {how_read(reading)}",
            *verdict(result),
        ]
    )


def how_read(reading: Json) -> str:
    """How a clip's surprise comes from its windows and their tokens."""
    worst = reading["window"].get("worst")
    tokens = {None: "", 1: ", of each the worst token"}.get(worst, f", of each the {worst} worst tokens")
    measure = ", by their likelihood" if reading["window"].get("likelihood") else ""
    return f"a clip's surprise is the {reading.get('over_windows', 'mean')} of its windows'{tokens}{measure}"


def span(rates: Sequence[float]) -> str:
    """Mean and range of rates, in percent."""
    if not rates:
        return "-"
    mean = sum(rates) / len(rates)
    return f"{100 * mean:.0f} ({100 * min(rates):.0f}-{100 * max(rates):.0f})"


def verdict(result: Json) -> list[str]:
    """What holds and what does not, a line each."""
    own, asked = result["rows"][MODEL], list(result["severity"])
    said = []
    if untrained_rates(result, "mean"):
        knows = [name for name in asked if own[name]["pairwise"]["ci95"][0] > max(untrained_rates(result, name))]
        rest = [name for name in asked if name not in knows]
        said.append(
            f"above every untrained network, with its whole interval: {', '.join(knows) or 'no property'}"
            + (f"; not: {', '.join(rest)}" if rest else "")
        )
    fooled = [name for name in asked if own[name]["recoloured_above_violation"]["rate"] > LEAST_ABOVE]
    if fooled:
        said.append(f"a legal change of light and colour surprises it more than the violation: {', '.join(fooled)}")
    return said
