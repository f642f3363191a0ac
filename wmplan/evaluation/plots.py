"""Small charts as SVG text: colours and fonts come from the page around them, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeGuard

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 24, 42
LEGEND = 14
"""Room above the chart for a legend."""


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


@dataclass
class Axes:
    """The frame of a chart, from data to pixels.

    Attributes:
        x_range, y_range: data shown.
        x_label, y_label: under and above the chart.
        log_x: logarithmic x.
        percent: the y ticks are shares.
        legend: leave room for a legend.
        whole: y counts things.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False
    percent: bool = False
    legend: bool = False
    whole: bool = False
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Pixel of an x."""
        low, high = self.x_range
        if self.log_x:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixel of a y; y grows upwards."""
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - self.top - BOTTOM)

    @property
    def top(self) -> float:
        """Pixel of the upper edge."""
        return TOP + LEGEND * self.legend

    def add(self, *parts: str) -> None:
        """Draw something above what is there."""
        self.parts.extend(parts)

    def svg(self, title: str, x_ticks: Sequence[tuple[float, str]] | None = None) -> str:
        """The chart, its grid below what was added."""
        grid = []
        for value in ticks(*self.y_range):
            if self.whole and value % 1:
                continue
            y = self.y(value)
            text = f"{100 * value:.0f} %" if self.percent else short(value)
            grid.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            grid.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
        if x_ticks is None:
            marks = log_ticks(*self.x_range) if self.log_x else ticks(*self.x_range)
            x_ticks = [(value, short(value)) for value in marks]
        for value, text in x_ticks:
            grid.append(
                f'<text class="tick" x="{self.x(value):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
        labels = (
            f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>"
            f'<text class="label" x="4" y="10">{escape(self.y_label)}</text>'
        )
        body = "".join([*grid, *self.parts, labels])
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>{body}</svg>'


def bar_chart(title: str, bars: Sequence[Bar], y_label: str = "", x_label: str = "", *, percent: bool = False) -> str:
    """Bars side by side."""
    tops = [max(bar.value or 0.0, bar.interval[1] if bar.interval else 0.0) for bar in bars]
    axes = Axes((0, len(bars)), (0, 1.0 if percent else (max(tops, default=0) * 1.12 or 1.0)), x_label, y_label)
    axes.percent, axes.whole = percent, not percent
    half = min(0.34, 30 / (WIDTH / max(len(bars), 1)))
    for index, bar in enumerate(bars):
        if bar.value is None:
            continue
        left, right, middle = axes.x(index + 0.5 - half), axes.x(index + 0.5 + half), axes.x(index + 0.5)
        top, bottom = axes.y(bar.value), axes.y(0)
        axes.add(
            f'<rect class="fill c{bar.colour}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{max(bottom - top, 0.8):.1f}" rx="2"/>'
        )
        if bar.interval:
            low, high = axes.y(bar.interval[0]), axes.y(bar.interval[1])
            axes.add(
                f'<path class="whisker" d="M{middle:.1f} {low:.1f}V{high:.1f}M{middle - 5:.1f} {low:.1f}h10'
                f'M{middle - 5:.1f} {high:.1f}h10"/>'
            )
        above = min(top, axes.y(bar.interval[1]) if bar.interval else top) - 5
        axes.add(f'<text class="tick" x="{middle:.1f}" y="{max(above, 9):.1f}" text-anchor="middle">{bar.note}</text>')
    return axes.svg(title, [(index + 0.5, bar.label) for index, bar in enumerate(bars)])


def histogram(title: str, values: Sequence[float], x_label: str, marks: Sequence[tuple[float, str]] = ()) -> str:
    """How often values occur, with marked values."""
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    low, high = min(values), max(values)
    log = low > 0 and high / low > 8
    bins = min(30, max(6, int(len(values) ** 0.5)))
    if high <= low:
        low, high = low * 0.9 - 1e-9, high * 1.1 + 1e-9
    edges = [low * (high / low) ** (i / bins) if log else low + (high - low) * i / bins for i in range(bins + 1)]
    counts = [0] * bins
    for value in values:
        place = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        counts[min(int(place * bins), bins - 1)] += 1
    axes = Axes((edges[0], edges[-1]), (0, max(counts) * 1.15), x_label, "plans", log_x=log)
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            x, top = axes.x(left), axes.y(count)
            axes.add(
                f'<rect class="fill c0" x="{x:.1f}" y="{top:.1f}" width="{max(axes.x(right) - x - 1, 0.5):.1f}" '
                f'height="{axes.y(0) - top:.1f}"/>'
            )
    for place, (value, text) in enumerate(marks):
        x = axes.x(min(max(value, low), high))
        axes.add(f'<path class="mark" d="M{x:.1f} {axes.y(0):.1f}V{TOP}"/>')
        side = "end" if x + 5.6 * len(text) > WIDTH else "start"
        offset = -4 if side == "end" else 4
        y = TOP + 8 + 12 * place
        axes.add(f'<text class="tick" x="{x + offset:.1f}" y="{y}" text-anchor="{side}">{escape(text)}</text>')
    return axes.svg(title)


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
    """Lines over a shared x, with a legend; `guide` is a horizontal line with its name."""
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in line.y if known(y)]
    ys += [edge for line in lines for pair in line.band or () if pair for edge in pair]
    if guide:
        ys.append(guide[0])
    if not xs or not ys:
        return ""
    if y_range is None:
        low, high = min(0.0, min(ys)), max(ys)
        y_range = (low, high + 0.06 * ((high - low) or 1.0))
    x_range = (min(xs), max(xs))
    if x_range[0] == x_range[1]:
        x_range = (x_range[0] - 0.5, x_range[1] + 0.5)
    named = [line for line in lines if line.name]
    axes = Axes(x_range, y_range, x_label, y_label, legend=bool(named))
    if guide:
        y = axes.y(guide[0])
        axes.add(f'<path class="mark" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        axes.add(f'<text class="tick" x="{WIDTH - RIGHT}" y="{y - 4:.1f}" text-anchor="end">{escape(guide[1])}</text>')
    for line in lines:
        draw_line(axes, line)
    legend(axes, named)
    marks = [(x, short(x)) for x in sorted(set(xs))] if whole_x and len(set(xs)) <= 12 else None
    return axes.svg(title, marks)


def draw_line(axes: Axes, line: Line) -> None:
    """A line with its band and dots, interrupted where it is not known."""
    if line.band:
        edges = [(x, pair) for x, pair in zip(line.x, line.band, strict=True) if pair]
        if len(edges) > 1:
            path = [(axes.x(x), axes.y(high)) for x, (_, high) in edges]
            path += [(axes.x(x), axes.y(low)) for x, (low, _) in reversed(edges)]
            axes.add(f'<polygon class="band c{line.colour}" points="{points(path)}"/>')
    run: list[tuple[float, float]] = []
    runs = [run]
    for x, y in zip(line.x, line.y, strict=True):
        if not known(y):
            run = []
            runs.append(run)
        else:
            run.append((axes.x(x), axes.y(min(max(y, axes.y_range[0]), axes.y_range[1]))))
    style = "faint" if line.faint else "line"
    for part in runs:
        if line.dots or (len(part) == 1 and not line.faint):
            axes.add(*(f'<circle class="dot c{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in part))
        elif len(part) > 1:
            axes.add(f'<polyline class="{style} c{line.colour}" points="{points(part)}"/>')


def legend(axes: Axes, lines: Sequence[Line]) -> None:
    """Names of the lines, above the chart; the axes have to leave room for them."""
    x = 4.0
    for line in lines:
        axes.add(f'<rect class="fill c{line.colour}" x="{x:.1f}" y="{axes.top - 18}" width="9" height="7" rx="2"/>')
        axes.add(f'<text class="tick" x="{x + 13:.1f}" y="{axes.top - 11}">{escape(line.name)}</text>')
        x += 24 + 5.3 * len(line.name)


def points(path: Sequence[tuple[float, float]]) -> str:
    """Points as SVG has them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in path)


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    size = 10 ** math.floor(math.log10(raw))
    step = min((m * size for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within [low, high]."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def short(value: float) -> str:
    """A number for an axis."""
    return f"{value:.4g}"
