"""The first setting in which a run that is there differs from the one that was asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from wmplan.errors import UserError

SHOWN = 60  # characters of a value in a message


def require_same(
    folder: str | Path,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    kind: str = "a run",
    ignore: Collection[str] = (),
) -> None:
    """Check that a folder holds what was asked for.

    Args:
        folder: where the old one is, for the message.
        old: its settings, as JSON gave them.
        new: those asked for; tuples count as lists.
        kind: what the folder holds: "a run", "a collection".
        ignore: outermost keys that may differ.

    Raises:
        UserError: that names one key, both values and how to begin anew.
    """
    found = difference(old, new, kind, ignore)
    if found is not None:
        raise UserError(f"{folder} holds {found}: give another out=DIR, or delete {folder} to begin anew")


def difference(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    kind: str = "a run",
    ignore: Collection[str] = (),
    named: str = "this one",
) -> str | None:
    """The first setting that differs, as "a run with seed=0, this one has 1"; None where all are the same."""
    for path, before, after in differences(old, json.loads(json.dumps(new))):
        if path.partition(".")[0] not in ignore:
            held = f"{kind} without {path}" if before is MISSING else f"{kind} with {path}={_shown(before)}"
            return f"{held}, {named} has {'not set' if after is MISSING else _shown(after)}"
    return None


MISSING = object()
"""Stands for a key that only the other side has."""


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, old and new value of each setting that differs, those of `new` first; dots join the keys of mappings."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*new, *(name for name in old if name not in new)]:
            inner = f"{path}.{name}" if path else str(name)
            yield from differences(old.get(name, MISSING), new.get(name, MISSING), inner)
    elif old is MISSING or new is MISSING or old != new or isinstance(old, bool) != isinstance(new, bool):
        yield path, old, new


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
