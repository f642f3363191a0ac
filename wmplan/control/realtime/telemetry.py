"""What a control loop counts and measures: as an object, as a line for the log, and as Prometheus text."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping

import numpy as np

WINDOW = 1000
"""Newest values that percentiles are taken over."""
PERCENTILES = (50, 95, 99)
LONGEST_TEXT = 500
"""Characters of what an exception says that are told."""


def described(error: BaseException) -> str:
    """An exception as one line of bounded length, whatever it holds."""
    try:
        said = " ".join(str(error)[: 2 * LONGEST_TEXT].split())
    except Exception as broken:  # its own __str__
        said = f"its message cannot be read ({type(broken).__name__})"
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 3] + "..."


class Series:
    """A measured quantity: all of it in number and sum, its newest values for percentiles."""

    def __init__(self) -> None:
        self.count, self.total, self.largest = 0, 0.0, 0.0
        self.recent: deque[float] = deque(maxlen=WINDOW)

    def add(self, value: float) -> None:
        """One more value; one that is not finite is left out, as it would stand in the sum for good."""
        if not math.isfinite(value):
            return
        self.count += 1
        self.total += value
        self.largest = value if self.count == 1 else max(self.largest, value)
        self.recent.append(value)

    def percentile(self, q: float) -> float | None:
        """Of the newest values, linearly interpolated; None where there are none."""
        return float(np.percentile(np.array(self.recent), q)) if self.recent else None

    def exposed(self, name: str, labels: Mapping[str, str]) -> Iterator[str]:
        """The lines of a summary in Prometheus' text format."""
        for q in PERCENTILES:
            if (value := self.percentile(q)) is not None:
                yield f"{name}{_labels({**labels, 'quantile': f'{q / 100:g}'})} {value:.9g}"
        yield f"{name}_sum{_labels(labels)} {self.total:.9g}"
        yield f"{name}_count{_labels(labels)} {self.count}"


class Statistics:
    """Counters by name and label, and measured series; may be written and read by several threads.

    Counters:
        ticks: of control, by the state they were in. early: calls before the next tick was due, which repeated the
            action. skipped: ticks for which nothing was asked.
        plans: by what became of them: used, late (it took effect later than planned), discarded (of an earlier goal
            or reset), failed (by exception, or no finite plan), warmup.
        rejected: observations by what was wrong with them. violations: of limits, by kind.
        states: changes, as "FOLLOW->HOLD". stops: SAFE_STOPs by reason. surprises: plans above the threshold.
        errors: exceptions by type.

    Series: plan_seconds, age_seconds (of the observation acted on), seam (largest jump of an action between the old
    plan and the new, as a fraction of its range), interval_seconds (between ticks), surprise.
    """

    COUNTERS = (
        "ticks",
        "early",
        "skipped",
        "plans",
        "rejected",
        "violations",
        "states",
        "stops",
        "surprises",
        "errors",
    )
    SERIES = ("plan_seconds", "age_seconds", "seam", "interval_seconds", "surprise")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, Counter[str]] = {name: Counter() for name in self.COUNTERS}
        self._series = {name: Series() for name in self.SERIES}
        self.state = "HOLD"
        self.reason: str | None = None  # of the state
        self.last_error: str | None = None

    # ------------------------------------------------------------------ writing

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name][label] += by

    def measure(self, name: str, value: float) -> None:
        """Add to a series."""
        with self._lock:
            self._series[name].add(value)

    def error(self, error: BaseException) -> None:
        """Count an exception and remember what it said."""
        with self._lock:
            self._counters["errors"][type(error).__name__] += 1
            self.last_error = described(error)

    # ------------------------------------------------------------------ reading

    def counter(self, name: str, label: str | None = None) -> int:
        """A counter's value under one label, or over all."""
        with self._lock:
            return self._counters[name].total() if label is None else self._counters[name][label]

    @property
    def control_rate(self) -> float | None:
        """Ticks a second, over the newest ones."""
        with self._lock:
            recent = self._series["interval_seconds"].recent
            return len(recent) / sum(recent) if recent and sum(recent) > 0 else None

    @property
    def missed_deadlines(self) -> float:
        """The part of plans (warm-up and discarded ones apart) that came late or not at all."""
        with self._lock:
            plans = self._counters["plans"]
            missed = plans["late"] + plans["failed"]
            return missed / max(1, missed + plans["used"])

    def as_dict(self) -> dict[str, object]:
        """All of it as plain numbers, for JSON."""
        rate, missed = self.control_rate, self.missed_deadlines
        with self._lock:
            series = {
                name: {
                    "count": one.count,
                    "mean": one.total / one.count if one.count else None,
                    "max": one.largest if one.count else None,
                    **{f"p{q}": one.percentile(q) for q in PERCENTILES},
                }
                for name, one in self._series.items()
            }
            counters = {name: dict(counter) for name, counter in self._counters.items()}
            return {
                "state": self.state,
                "reason": self.reason,
                "control_rate": rate,
                "missed_deadlines": missed,
                "last_error": self.last_error,
                **counters,
                **series,
            }

    def line(self) -> str:
        """The main of it in one line."""
        rate, missed = self.control_rate, self.missed_deadlines
        with self._lock:
            plan, age = self._series["plan_seconds"], self._series["age_seconds"]
            seam, counters = self._series["seam"].percentile(95), self._counters
            parts = [
                self.state,
                f"{rate:.1f} Hz" if rate is not None else "- Hz",
                "plan p50/p95/p99 " + "/".join(_ms(plan.percentile(q)) for q in PERCENTILES) + " ms",
                f"missed {100 * missed:.1f} %",
                f"age p95 {_ms(age.percentile(95))} ms",
                f"seam p95 {'-' if seam is None else f'{100 * seam:.0f}'} %",
            ]
            for name in ("early", "skipped", "rejected", "violations", "stops", "errors"):
                found = +counters[name]
                if found:
                    parts.append(f"{name} " + ", ".join(f"{label} {n}".strip() for label, n in sorted(found.items())))
            if self.reason is not None:
                parts.append(self.reason)
            return " | ".join(parts)

    def prometheus(self, labels: Mapping[str, str] | None = None, prefix: str = "wmplan_control") -> str:
        """The text that Prometheus scrapes (exposition format 0.0.4)."""
        rate, common = self.control_rate, dict(labels or {})
        lines: list[str] = []
        with self._lock:
            for name, counter in self._counters.items():
                lines += [f"# TYPE {prefix}_{name}_total counter"]
                for label, value in sorted(counter.items()) or [("", 0)]:
                    own = {**common, "kind": label} if label else common
                    lines.append(f"{prefix}_{name}_total{_labels(own)} {value}")
            for name, series in self._series.items():
                lines.append(f"# TYPE {prefix}_{name} summary")
                lines += series.exposed(f"{prefix}_{name}", common)
            lines.append(f"# TYPE {prefix}_rate_hz gauge")
            lines.append(f"{prefix}_rate_hz{_labels(common)} {'NaN' if rate is None else f'{rate:.9g}'}")
            lines.append(f"# TYPE {prefix}_state gauge")
            for state in ("FOLLOW", "HOLD", "SAFE_STOP"):
                lines.append(f"{prefix}_state{_labels({**common, 'state': state})} {int(state == self.state)}")
        return "\n".join(lines) + "\n"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.0f}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
