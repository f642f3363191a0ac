"""What the server counts and times, as numbers and as Prometheus text."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator

RECENT = 1000  # times that quantiles are taken of
QUANTILES = (0.5, 0.95, 0.99)


class Times:
    """How long something took, in ms: its number and sum, and quantiles of the newest thousand."""

    def __init__(self) -> None:
        self.count, self.sum = 0, 0.0
        self.recent: deque[float] = deque(maxlen=RECENT)

    def add(self, ms: float) -> None:
        """One more."""
        self.count += 1
        self.sum += ms
        self.recent.append(ms)

    def quantiles(self) -> dict[float, float]:
        """The smallest time that the share of the recent ones does not exceed; not a number before the first."""
        ordered = sorted(self.recent)
        return {q: ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else math.nan for q in QUANTILES}

    def summary(self) -> dict[str, float]:
        """The quantiles by the names p50, p95, p99; empty before the first."""
        return {f"p{round(100 * q)}": value for q, value in self.quantiles().items()} if self.count else {}


class ServerMetrics:
    """Numbers of one server since it began.

    Attributes:
        sessions: robots connected now.
        opened: sessions so far.
        refused: connections not let in, by reason.
        ended: sessions that the server ended, by reason.
        messages: those understood, by kind.
        wrong: those answered with an error, by what was wrong with them.
        plan_ms: planning alone; infer_ms: from a message to its reply, waiting included.
    """

    def __init__(self) -> None:
        self.sessions = self.opened = 0
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.plan_ms, self.infer_ms = Times(), Times()

    def text(self, planned: int, batches: int) -> str:
        """In Prometheus' text format, with the planning thread's requests and batches."""
        lines = [
            *_metric("sessions", "gauge", "Robots connected now.", self.sessions),
            *_metric("sessions_total", "counter", "Sessions so far.", self.opened),
            *_counts("refused_total", "Connections not let in.", "reason", self.refused),
            *_counts("ended_total", "Sessions that the server ended.", "reason", self.ended),
            *_counts("messages_total", "Messages understood.", "kind", self.messages),
            *_counts("wrong_messages_total", "Messages answered with an error.", "reason", self.wrong),
            *_metric("planned_total", "counter", "Requests planned.", planned),
            *_metric("batches_total", "counter", "Batches they were planned in.", batches),
            *_times("plan_ms", "Planning alone, in ms.", self.plan_ms),
            *_times("infer_ms", "From a message to its reply, in ms.", self.infer_ms),
        ]
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, meaning: str, value: float | None = None) -> Iterator[str]:
    yield f"# HELP wmplan_server_{name} {meaning}"
    yield f"# TYPE wmplan_server_{name} {kind}"
    if value is not None:
        yield f"wmplan_server_{name} {value}"


def _counts(name: str, meaning: str, label: str, counts: Counter[str]) -> Iterator[str]:
    yield from _metric(name, "counter", meaning)
    for key, value in sorted(counts.items()):
        yield f'wmplan_server_{name}{{{label}="{key}"}} {value}'


def _times(name: str, meaning: str, times: Times) -> Iterator[str]:
    yield from _metric(name, "summary", meaning)
    for q, value in times.quantiles().items():
        yield f'wmplan_server_{name}{{quantile="{q}"}} {"NaN" if math.isnan(value) else f"{value:.3f}"}'
    yield f"wmplan_server_{name}_sum {times.sum:.3f}"
    yield f"wmplan_server_{name}_count {times.count}"
