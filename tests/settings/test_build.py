"""Settings become what annotations ask for, or a line that says what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmplan.errors import UserError
from wmplan.settings.build import build
from wmplan.settings.numbers import MAX_INT


@dataclass(frozen=True)
class Inner:
    width: int = 3
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    size: tuple[int, int] = (1, 2)
    many: tuple[float, ...] = ()
    rows: Sequence[str] | str = "all"
    limit: int | None = None
    folder: Path = Path()
    kind: Literal["l1", "l2"] = "l1"
    options: Mapping[str, Any] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    fast: bool = False
    layers: tuple[Inner, ...] | None = None


def test_everything_that_yaml_gives_is_converted() -> None:
    settings = {
        "name": 2024,
        "inner": {"width": 5, "rate": 2},
        "size": [4, 5],
        "many": [1, 2.5],
        "rows": ["a"],
        "limit": None,
        "folder": "~/x",
        "kind": "l2",
        "options": {"a": [1, None]},
        "scales": {"a": 1},
        "fast": True,
    }
    made = build(Outer, settings)
    expected = Outer(
        "2024",
        Inner(5, 2.0),
        (4, 5),
        (1.0, 2.5),
        ["a"],
        None,
        Path.home() / "x",
        "l2",
        {"a": [1, None]},
        {"a": 1.0},
        True,
    )
    assert made == expected
    assert type(made.inner.rate) is type(made.scales["a"]) is float


def test_numpy_and_whole_floats_are_numbers_too() -> None:
    settings = {
        "name": "a",
        "inner": {"width": 1e3, "rate": np.float32(0.5)},
        "size": np.array([1, 2]),
        "limit": np.int8(3),
    }
    made = build(Outer, {**settings, "fast": np.bool_(True), "options": {"a": np.ones(2)}})
    assert made.inner == Inner(1000, 0.5) and made.size == (1, 2) and made.limit == 3 and made.fast is True
    assert [type(one) for one in (made.inner.width, made.inner.rate, *made.size, made.limit)] == [
        int,
        float,
        int,
        int,
        int,
    ]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "name is missing, it must be text"),
        ({"name": "a", "nam": 1}, "there is no key 'nam'; did you mean 'name'?"),
        ({"name": "a", "inner": {"widht": 1}}, "there is no key 'inner.widht'; did you mean 'inner.width'?"),
        ({"name": "a", "inner": {"width": 1.5}}, "inner.width must be a whole number, got 1.5"),
        (
            {"name": "a", "inner": {"width": 2**63}},
            f"inner.width must be a whole number of at most {MAX_INT}, got {2**63}",
        ),
        ({"name": "a", "inner": {"width": True}}, "inner.width must be a whole number, got True"),
        ({"name": "a", "inner": {"rate": float("nan")}}, "inner.rate must be a number, got nan"),
        ({"name": "a", "inner": {"rate": "fast"}}, "inner.rate must be a number, got 'fast'"),
        ({"name": "a", "size": [1]}, "size must be a list [a whole number, a whole number], got [1]"),
        ({"name": "a", "size": [1, "b"]}, "size[1] must be a whole number, got 'b'"),
        ({"name": "a", "limit": "b"}, "limit must be a whole number or null, got 'b'"),
        ({"name": "a", "kind": "l3"}, "kind is 'l3'; it is one of l1, l2"),
        ({"name": "a", "fast": 1}, "fast must be true or false, got 1"),
        ({"name": None}, "name must be text, got None"),
        ({"name": 1e3}, "name must be text, got the number 1000.0: in quotes it is taken as it stands"),
        ({"name": "a", "folder": ""}, "folder must be a path, got ''"),
        ({"name": "a", "options": 3}, "options must be a mapping of keys to values, got 3"),
        ({"name": "a", "inner": {"rate": 10**400}}, f"inner.rate must be a number, got {10**400}"),
        ({"name": "a", "inner": {"width": np.array([1])}}, "inner.width must be a whole number, got [1]"),
        ({"name": "a", "inner": 3}, "inner must be a mapping of keys to values, got 3"),
        (
            {"name": "a", "layers": [{}, {"wide": 1}]},
            "there is no key 'layers[1].wide'; did you mean 'layers[1].width'?",
        ),
        ({"name": "a", "layers": [{"width": 1.5}]}, "layers[0].width must be a whole number, got 1.5"),
    ],
)
def test_what_does_not_fit_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Outer, settings)
    assert str(caught.value) == says


def test_path_says_where_the_settings_stand() -> None:
    with pytest.raises(UserError, match="planner.width must be a whole number, got 'x'"):
        build(Inner, {"width": "x"}, "planner")


def test_a_function_is_called_with_its_types() -> None:
    def scale(value: float, *, by: float = 2.0, model: str | Path | None = None) -> tuple[float, object]:
        return value * by, model

    assert build(scale, {"value": 3, "by": 4, "model": "./x"}) == (12.0, "./x")  # text stays as it was written
    with pytest.raises(UserError, match="there is no key 'to'"):
        build(scale, {"value": 3, "to": 4})


WHOLE = st.integers(-MAX_INT, MAX_INT)


@given(
    st.builds(
        Outer,
        name=st.text(),
        inner=st.builds(Inner, WHOLE, st.floats(allow_nan=False)),
        size=st.tuples(WHOLE, WHOLE),
        many=st.lists(st.floats(allow_nan=False)).map(tuple),
        limit=st.none() | WHOLE,
        rows=st.lists(st.text()) | st.text(),
        scales=st.dictionaries(st.text(), st.floats(allow_nan=False)),
        fast=st.booleans(),
    )
)
def test_what_a_dataclass_holds_makes_it_again(made: Outer) -> None:
    assert build(Outer, asdict(made) | {"folder": "."}) == made
