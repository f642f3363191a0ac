"""What the server counts and times, as numbers and as Prometheus text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from wmplan.control.realtime.telemetry import PERCENTILES, Series


class ServerMetrics:
    """Numbers of one server since it began.

    Attributes:
        sessions: robots connected now.
        opened: sessions so far.
        refused: connections not let in, by reason.
        ended: sessions that the server ended, by reason.
        messages: those understood, by kind.
        wrong: those answered with an error, by what was wrong with them.
        plan_seconds: planning alone; infer_seconds: from a message to its reply, waiting included.
    """

    def __init__(self) -> None:
        self.sessions = self.opened = 0
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.plan_seconds, self.infer_seconds = Series(), Series()

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
            *_series("plan_seconds", "Planning alone.", self.plan_seconds),
            *_series("infer_seconds", "From a message to its reply.", self.infer_seconds),
        ]
        return "\n".join(lines) + "\n"


def percentiles_ms(series: Series) -> dict[str, float]:
    """p50, p95, p99 in ms of a series in seconds; empty before its first value."""
    found = {f"p{q}": series.percentile(q) for q in PERCENTILES}
    return {name: 1e3 * value for name, value in found.items() if value is not None}


def _metric(name: str, kind: str, meaning: str, value: float | None = None) -> Iterator[str]:
    yield f"# HELP wmplan_server_{name} {meaning}"
    yield f"# TYPE wmplan_server_{name} {kind}"
    if value is not None:
        yield f"wmplan_server_{name} {value}"


def _counts(name: str, meaning: str, label: str, counts: Counter[str]) -> Iterator[str]:
    yield from _metric(name, "counter", meaning)
    for key, value in sorted(counts.items()):
        yield f'wmplan_server_{name}{{{label}="{key}"}} {value}'


def _series(name: str, meaning: str, series: Series) -> Iterator[str]:
    yield from _metric(name, "summary", meaning)
    yield from series.exposed(f"wmplan_server_{name}", {})
