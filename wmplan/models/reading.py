"""Small files from outside, read within bounds: regular files up to a size, and strict JSON.

A configuration may come with a checkpoint that a stranger made. Nothing in it may block (a pipe), have no end (a
device), fill the memory, or mean something else than it says (a key given twice).
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wmplan.errors import UserError
from wmplan.models.errors import CheckpointError

MOST_BYTES = 2**20
"""Of a configuration: real ones have some 10 KiB, and what is parsed takes about twenty times its text."""
MOST_LEVELS = 64
"""Of nested lists and mappings: real ones have five; what walks through them later calls itself at each level."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the operating system says while `path` is read into a CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def require_regular(path: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        CheckpointError: where there is none, or a folder, a device or a pipe in its place.
    """
    with readable(path):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a device, a pipe or a socket"
        raise CheckpointError(f"{path} must be a file, it is {kind}")
    return found.st_size


def read_bounded(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        CheckpointError: where there is none, it cannot be read, or it has more than `most` bytes.
    """
    require_regular(path)
    with readable(path), path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise CheckpointError(f"{path} must have at most {most} bytes, it has more")
    return content


def read_json(path: Path) -> Any:
    """What a JSON file holds; see parse_json().

    Raises:
        CheckpointError: also where the file cannot be read.
    """
    return parse_json(read_bounded(path), path)


def parse_json(text: bytes | str, source: object, constants: Callable[[str], Any] | None = None) -> Any:
    """What a JSON text of UTF-8 holds, strictly: finite numbers, no key twice, at most MOST_LEVELS levels.

    Args:
        source: names the text in errors.
        constants: what NaN, Infinity and -Infinity become; they are refused when left out.

    Raises:
        CheckpointError: saying what is wrong with the text.
    """
    if len(text) > MOST_BYTES:
        raise CheckpointError(f"{source} must have at most {MOST_BYTES} bytes, it has {len(text)}")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        content = json.loads(
            text, object_pairs_hook=_unique, parse_constant=constants or _refuse, parse_float=_finite, parse_int=_whole
        )
    except RecursionError as error:
        raise CheckpointError(f"{source} must have at most {MOST_LEVELS} levels, it is nested deeper") from error
    except ValueError as error:
        raise CheckpointError(f"{source} is not valid JSON: {error}") from error
    _require_flat(content, source)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise UserError(f"the key {_shown(twice)} is there twice")
    return content


def _refuse(constant: str) -> Any:
    raise UserError(f"{constant} is no number in JSON; where nothing is known, write null")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise UserError(f"the number {_shown(text)} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > 100:  # all that a computer counts has fewer digits
        raise UserError(f"the number {_shown(text)} has {len(text)} digits")
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _require_flat(content: Any, source: object) -> None:
    """Raise a CheckpointError where lists and mappings are nested deeper than MOST_LEVELS."""
    level: list[Any] = [content]
    for _ in range(MOST_LEVELS + 1):
        level = [part for one in level for part in _parts(one)]
        if not level:
            return
    raise CheckpointError(f"{source} must have at most {MOST_LEVELS} levels, it is nested deeper")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
