"""One thing that is wrong with recorded data, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 5  # findings of one kind


@dataclass(frozen=True)
class Finding:
    """Something in the data that its user should know.

    Attributes:
        kind: a few words, the same for all findings of its kind.
        message: what it is, and what would be right.
        serious: whether a model trained on it would learn something wrong.
        episode, row: where it begins; None where it is of the whole data set or episode.
    """

    kind: str
    message: str
    serious: bool
    episode: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        place = "" if self.episode is None else f"episode {self.episode}"
        place += "" if self.row is None else f", row {self.row}"
        return f"{'serious' if self.serious else 'note':9}{self.kind}: {place}{place and ': '}{self.message}"


def table(findings: Iterable[Finding]) -> str:
    """The findings as text, the serious ones first, a few of each kind."""
    kinds: dict[tuple[bool, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((not finding.serious, finding.kind), []).append(finding)
    lines = []
    for (_, kind), found in sorted(kinds.items()):
        lines += [str(one) for one in found[:SHOWN]]
        if len(found) > SHOWN:
            more = len({one.episode for one in found})
            lines.append(f"{'':9}{kind}: {len(found)} in all, in {more} episodes")
    return "\n".join(lines)
