"""Meanings come out of docstrings whole."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

from wmplan.settings.describe import defaults, meanings


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        width: of the part.
    """

    width: int = 3


@dataclass(frozen=True)
class Whole(Part):
    """A whole.

    Attributes:
        first, second: numbers: of two kinds,
            said on two lines. None for none.
        part: the inside.

    Raises:
        third: is no field.
    """

    first: int | None = None
    second: int = 2
    part: Part | None = field(default_factory=Part)


def run(value: int, *, speed: float = 1.0) -> None:
    """Run.

    Args:
        value: how far.
        speed: how fast.

    Returns:
        nothing: at all.
    """


def test_meanings_of_fields_bases_and_nested_dataclasses() -> None:
    both = "numbers: of two kinds, said on two lines. null for none"
    assert meanings(Whole) == {
        "width": "of the part",
        "first": both,
        "second": both,
        "part": "the inside",
        "part.width": "of the part",
    }


def test_meanings_and_defaults_of_a_function() -> None:
    assert meanings(run) == {"value": "how far", "speed": "how fast"}
    assert defaults(run) == {"speed": 1.0}


def test_defaults_of_a_dataclass() -> None:
    assert defaults(Whole) == {"width": 3, "first": None, "second": 2, "part": Part()}

    @dataclass
    class Needs:
        what: int

    assert defaults(Needs) == {"what": inspect.Parameter.empty}
