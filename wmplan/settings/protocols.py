"""Evaluation protocols by name, protocol=NAME: configs/protocol/NAME.yaml says what differs, and from where it is.

about: one line
source: the publication, and where in its code this was read
settings: {offset: 30, ...}                       # fields of wmplan.evaluation.Protocol
tasks: {metaworld_*: {budget: 100, ...}, ...}     # over them, on tasks whose names fit
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from wmplan.errors import UserError
from wmplan.settings.groups import group_options, read_yaml
from wmplan.settings.suggest import did_you_mean

DEFAULT = "default"


@dataclass(frozen=True)
class NamedProtocol:
    """A protocol that has a name; see above."""

    name: str
    about: str
    source: str
    settings: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def on(self, task: str | None) -> dict[str, Any]:
        """The settings on a task."""
        found = dict(self.settings)
        for pattern, own in self.tasks.items():
            if task is not None and fnmatchcase(task, pattern):
                found |= own
        return found if self.name == DEFAULT else {"name": self.name, **found}


def named_protocol(name: str) -> NamedProtocol:
    """The protocol `name`.

    Raises:
        UserError: if there is none.
    """
    known = group_options("protocol")
    if name not in known:
        raise UserError(f"there is no protocol {name!r}; {did_you_mean(name, known)}")
    return NamedProtocol(name, **read_yaml(f"protocol/{name}.yaml"))


def named_protocols() -> list[NamedProtocol]:
    """All of them, the default first."""
    names = group_options("protocol")
    return [named_protocol(name) for name in sorted(names, key=lambda name: (name != DEFAULT, name))]
