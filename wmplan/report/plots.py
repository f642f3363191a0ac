"""Small charts as SVG text, drawn by matplotlib in the colours of the page around them, light or dark."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 4.6, 2.6
"""Inches; the page scales them."""
COLOURS = {
    "--c0": "#2f6fb7",
    "--c1": "#d9822b",
    "--c2": "#2a9d6e",
    "--c3": "#b0496f",
    "--c4": "#7a68c4",
    "--c5": "#8a939e",
}
INK, SOFT, RULE = "#1d232b", "#66707c", "#e3e5e8"
PAGE = {value: name for name, value in {**COLOURS, "--ink": INK, "--soft": SOFT, "--rule": RULE}.items()}
"""From the colours drawn with to the page's variables of the same meaning."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "text.color": SOFT,
    "font.size": 9,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.1,
}


@dataclass(frozen=True)
class Bar:
    """A bar from zero, with an interval where there is one.

    Attributes:
        label: under it.
        value: its height; None for a gap.
        interval: (low, high).
        note: above it.
        colour: number of a colour of the page.
    """

    label: str
    value: float | None
    interval: tuple[float, float] | None = None
    note: str = ""
    colour: int = 0


@dataclass(frozen=True)
class Line:
    """A line over x, with a band where there is one.

    Attributes:
        name: for the legend; none where it is empty.
        x, y: of its points; a y of None or NaN is a gap.
        band: (low, high) for each point.
        colour: number of a colour of the page.
        faint: draw it thin and pale, as one of many.
        dots: draw its points and no line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    band: Sequence[tuple[float, float] | None] | None = None
    colour: int = 0
    faint: bool = False
    dots: bool = False


def chart(title: str, draw: Callable[[Any], object]) -> str:
    """What `draw` draws into matplotlib axes, as an <svg> element that takes its colours and font from the page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Title": title})
    _, _, text = buffer.getvalue().partition("<svg ")
    for colour, variable in PAGE.items():
        text = text.replace(colour, f"var({variable})")
    text = text.replace("'DejaVu Sans', ", "").replace("<metadata>", f"<title>{escape(title)}</title><metadata>", 1)
    return f'<svg role="img" {text}'


def frame(axes: Any, x_label: str, y_label: str) -> None:
    """Names of the axes, the vertical one's above it, and horizontal grid lines."""
    axes.set_xlabel(x_label)
    axes.set_title(y_label, loc="left", fontsize=9, color=SOFT, x=0.0)
    axes.grid(axis="y")


def colour(number: int) -> str:
    """A colour of the page."""
    return COLOURS[f"--c{number}"]


def bar_chart(title: str, bars: Sequence[Bar], y_label: str = "", x_label: str = "", *, percent: bool = False) -> str:
    """Bars side by side."""
    return chart(title, lambda axes: draw_bars(axes, bars, y_label, x_label, percent))


def draw_bars(axes: Any, bars: Sequence[Bar], y_label: str, x_label: str, percent: bool) -> None:
    """Bars with their intervals and notes."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    frame(axes, x_label, y_label)
    for place, bar in enumerate(bars):
        if bar.value is None:
            continue
        axes.bar(place, bar.value, width=min(0.68, 0.15 * len(bars) + 0.1), color=colour(bar.colour))
        top = bar.value
        if bar.interval:
            low, high = bar.interval
            ends = [[max(bar.value - low, 0.0)], [max(high - bar.value, 0.0)]]
            axes.errorbar(place, bar.value, yerr=ends, color=INK, capsize=3, linewidth=1.1)
            top = max(top, high)
        axes.annotate(bar.note, (place, top), (0, 3), textcoords="offset points", ha="center", annotation_clip=False)
    axes.set_xticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_xlim(-0.6, max(len(bars), 1) - 0.4)
    if percent:
        axes.set(ylim=(0, 1.12), yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(y=0.15)
        axes.set_ylim(bottom=0)


def histogram(
    title: str, values: Sequence[float], x_label: str, marks: Sequence[tuple[float, str]] = (), y_label: str = "plans"
) -> str:
    """How often values occur, with marked values; empty where there are none."""
    values = [value for value in values if math.isfinite(value)]
    return chart(title, lambda axes: draw_histogram(axes, values, x_label, marks, y_label)) if values else ""


def draw_histogram(
    axes: Any, values: Sequence[float], x_label: str, marks: Sequence[tuple[float, str]], y_label: str = "plans"
) -> None:
    """Bars of equal width, on a logarithmic axis where values differ much, and a legend of what is marked."""
    import numpy as np
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    frame(axes, x_label, y_label)
    low, high = min(values), max(values)
    count = min(30, max(6, int(len(values) ** 0.5)))
    if low > 0 and high / low > 8:
        axes.set_xscale("log")
        edges = np.geomspace(low, high, count + 1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        edges = np.linspace(low, high, count + 1) if high > low else np.array([0.9 * low - 1e-9, 1.1 * high + 1e-9])
    axes.hist(values, edges, color=colour(0), rwidth=0.94)
    for (value, text), dashes in zip(marks, ("-", "--", ":"), strict=False):
        axes.axvline(value, color=SOFT, linewidth=1.1, linestyle=dashes, label=text)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if marks:
        axes.legend(loc="best")


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
    guide: tuple[float, str] | None = None,
) -> str:
    """Lines over a shared x, with a legend; `guide` is a horizontal line with its name. Empty without any point."""
    if not any(known(y) for line in lines for y in line.y):
        return ""
    return chart(title, lambda axes: draw_lines(axes, lines, x_label, y_label, y_range, whole_x, guide))


def draw_lines(
    axes: Any,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
    guide: tuple[float, str] | None = None,
) -> None:
    """Lines with their bands and dots, interrupted where they are not known."""
    from matplotlib.ticker import MaxNLocator

    frame(axes, x_label, y_label)
    for line in lines:
        drawn = colour(line.colour)
        if line.band:
            edges = [(x, *pair) for x, pair in zip(line.x, line.band, strict=True) if pair]
            axes.fill_between(*zip(*edges, strict=True), color=drawn, alpha=0.16, linewidth=0)
        y = [value if known(value) else math.nan for value in line.y]
        style: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.28} if line.faint else {"linewidth": 1.6}
        if line.dots or (len(y) == 1 and not line.faint):
            style = {"linestyle": "", "marker": "o", "markersize": 3.5, "alpha": 0.6, "markeredgewidth": 0}
        axes.plot(line.x, y, color=drawn, label=line.name or None, **style)
    if guide:
        axes.axhline(guide[0], color=SOFT, linewidth=0.9, linestyle=(0, (3, 3)), label=guide[1])
    has_legend = any(line.name for line in lines) or guide
    if y_range is None:
        low, high = axes.get_ylim()
        room = 0.2 * high if has_legend else 0.0  # or else the legend lies on the lines
        y_range = (min(0.0, low) if low < 0 else 0.0, high + room)
    axes.set_ylim(*y_range)
    if whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if has_legend:
        axes.legend(loc="best", ncols=2)


def known(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)
