"""The last gate: its output obeys the limits for any input."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wmplan.control.safety.limits import Limits
from wmplan.control.safety.safety_filter import LimitsGate, NonFiniteActionError
from wmplan.control.safety.workspace import Workspace

ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, (12, 2, 2), elements=ANY))
def test_whatever_comes_in_bounds_and_rate_hold(sequence: np.ndarray) -> None:
    limits = Limits(low=(-0.2, 0.0), high=(0.2, 3.0), max_change=(0.05, 0.5), on_non_finite="rest")
    gate = LimitsGate(limits)
    gate.reset(batch=2)
    last = np.zeros((2, 2), np.float32)
    for wanted in sequence:
        sent = gate(wanted)
        assert sent.dtype == np.float32
        assert (sent >= np.float32(limits.low)).all() and (sent <= np.float32(limits.high)).all()
        assert (np.abs(sent - last) <= np.array(limits.max_change) * (1 + 1e-5) + 1e-6).all()
        last = sent


def test_what_is_within_the_limits_passes_unchanged_and_uncounted() -> None:
    gate = LimitsGate(Limits(low=(-1.0, -2.0), high=(1.0, 2.0), max_change=(0.5, 0.5)))
    for wanted in ([0.5, -0.5], [0.9, -1.0], [1.0, -0.5]):
        np.testing.assert_array_equal(gate([wanted])[0], np.float32(wanted))
    assert gate.violations.total() == 0


def test_each_violation_is_counted_once_under_its_name() -> None:
    gate = LimitsGate(Limits(low=(-1.0,), high=(1.0,), max_change=(0.5,), on_non_finite="rest"))
    gate.reset(batch=3)
    sent = gate([[5.0], [0.7], [np.nan]])
    np.testing.assert_allclose(sent, [[0.5], [0.5], [0.0]])
    assert +gate.violations == {"bounds": 1, "rate": 2, "non_finite": 1}
    gate.reset(batch=3)
    assert gate.violations.total() == 0


def test_rounding_of_float32_is_no_violation() -> None:
    gate = LimitsGate(Limits(low=(-0.2,), high=(0.2,)))
    assert gate(np.array([[0.2]], np.float64))[0, 0] <= np.float32(0.2)
    assert gate(np.array([[np.float32(0.2)]], np.float32))[0, 0] == np.float32(0.2)
    assert gate.violations["bounds"] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_raise_by_default(bad: float) -> None:
    gate = LimitsGate(Limits(low=(-1.0, -1.0), high=(1.0, 1.0)))
    with pytest.raises(NonFiniteActionError, match="not finite"):
        gate([[0.0, bad]])
    np.testing.assert_array_equal(gate.last, 0.0)  # nothing was sent


def test_rest_outside_zero_is_used_where_a_number_is_not_finite() -> None:
    gate = LimitsGate(Limits(low=(0.1,), high=(1.0,), rest=(0.3,), on_non_finite="rest"))
    assert gate([[np.nan]])[0, 0] == np.float32(0.3)
    assert Limits(low=(0.1,), high=(1.0,)).rest_action()[0] == np.float32(0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": (0.1,), "high": (0.0,)}, "low .* at most high"),
        ({"low": (0.0,), "high": (1.0, 1.0)}, "high has 2 entries"),
        ({"low": (0.0,), "high": (float("nan"),)}, r"limits.high\[0\] must be a number, got nan"),
        ({"low": (0.0,), "high": (1.0,), "max_change": (0.0,)}, "max_change"),
        ({"low": (0.0,), "high": (1.0,), "rest": (2.0,)}, "rest"),
        ({"low": (0.0,), "high": (1.0,), "on_non_finite": "ignore"}, "on_non_finite"),
    ],
)
def test_wrong_limits_name_the_field(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**settings)


NAN, INF = float("nan"), float("inf")
PAIR: dict[str, Any] = {"low": (-1.0, -1.0), "high": (1.0, 1.0)}
BOX: dict[str, Any] = {"low": (-1.0,), "high": (1.0,), "action": (0,), "proprio": (0,), "gain": 0.1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, (0.1, number)) for name in ("max_change", "max_acceleration") for number in (NAN, INF, -INF, -0.1, 0)),
        *((name, (1e-300, 0.1)) for name in ("max_change", "max_acceleration")),
        *(("rest", (0.0, number)) for number in (NAN, INF, -INF, 1.5)),
        *(("low", (0.0, number)) for number in (NAN, INF, -INF, 2.0, 1 + 1e-12, -1e39)),
        *(("high", (2.0, number)) for number in (NAN, INF, -INF, -2.0, 1e39, 10**400)),
        *(
            (name, value)
            for name in ("low", "max_change")
            for value in (0.1, "ab", [[0.1, 0.1]], (0.1,), (None, 1), {})
        ),
        *(
            (name, value)
            for name in ("high", "rest")
            for value in ((True, True), np.zeros((2, 2)), (1j, 1), ("1", "1"))
        ),
        ("estop", True),
        ("workspace", {"low": (0.0,)}),
        ("on_violation", None),
    ],
)
def test_limits_that_cannot_be_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{**PAIR, field: value})


def test_limits_of_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="low has no entry"):
        Limits((), ())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, (number,)) for name in ("low", "high") for number in (NAN, True, "1", None)),
        *(("low", (number,)) for number in (1.0, 2.0, INF)),
        ("high", (-INF,)),
        *((name, value) for name in ("action", "proprio") for value in ((-1,), (0.5,), (0, 1), (True,), 0)),
        *(("gain", number) for number in (NAN, INF, -1.0, 0.0, 1e-300, "1")),
    ],
)
def test_a_workspace_that_cannot_be_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        Workspace(**{**BOX, field: value})


def test_positions_that_are_one_number_of_the_state_are_refused() -> None:
    for field in ("action", "proprio"):
        with pytest.raises(ValueError, match=field):
            Workspace(**{**BOX, "low": (0, 0), "high": (1, 1), "action": (0, 1), "proprio": (0, 1), field: (1, 1)})


FLOATS = st.floats() | st.floats(-2, 2) | st.sampled_from([0.0, 1e-45, 1e-38, 3.4e38, 5e-324, 1.7e308])
PAIRS = st.tuples(FLOATS, FLOATS)


@settings(max_examples=400, deadline=None)
@given(PAIRS, PAIRS, st.none() | PAIRS, st.none() | PAIRS, st.none() | PAIRS, st.lists(PAIRS, min_size=1, max_size=8))
def test_whatever_limits_can_be_made_only_finite_actions_within_them_leave(
    low: Any, high: Any, change: Any, acceleration: Any, rest: Any, wishes: list[Any]
) -> None:
    try:
        limits = Limits(low, high, change, rest, "rest", acceleration)
    except ValueError as error:
        assert any(name in str(error) for name in ("low", "high", "max_change", "max_acceleration", "rest"))
        return
    gate, last = LimitsGate(limits), limits.rest_action().astype(np.float64)
    for wish in wishes:
        sent = gate([wish])[0]
        assert np.isfinite(sent).all() and (sent >= np.float32(low)).all() and (sent <= np.float32(high)).all()
        if change is not None:
            rounding = 1e-6 * np.maximum(np.abs(sent), np.abs(last)) + 1e-6 * np.array(change)
            assert (np.abs(sent - last) <= np.array(change) + rounding).all()
        last = sent.astype(np.float64)


@pytest.mark.parametrize("field", ["low", "high", "max_change", "max_acceleration"])
def test_the_gate_alone_lets_nothing_through_that_is_not_finite(field: str) -> None:
    options: dict[str, Any] = {"max_change": (0.1, 0.1), "max_acceleration": (0.1, 0.1)}
    limits = Limits(**PAIR, **options, on_non_finite="rest")
    object.__setattr__(limits, field, (NAN, NAN))  # as no one can who asks for it properly
    gate = LimitsGate(limits)
    for wish in ([0.7, 0.7], [NAN, INF], [1e308, -1e308]):
        assert np.isfinite(gate([wish])).all() and np.isfinite(gate.rest()).all()


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2,\)"):
        LimitsGate(Limits(low=(-1.0, -1.0), high=(1.0, 1.0)))([0.0, 0.0])


@pytest.mark.parametrize("fixed", [0.0, 0.1, -0.7, 255.3])
def test_equal_bounds_fix_a_number_and_break_nothing(fixed: float) -> None:
    gate = LimitsGate(Limits(low=(-1.0, fixed), high=(1.0, fixed), on_violation="stop"))
    for wanted in (0.2, -0.2):
        sent = gate(np.array([[wanted, fixed]]))  # float64, which the float32 sent is not equal to
        np.testing.assert_array_equal(sent, np.float32([[wanted, fixed]]))
    assert gate.stopped is None and gate.violations.total() == 0
    gate = LimitsGate(Limits(low=(-1.0, fixed), high=(1.0, fixed)))
    assert gate([[0.2, fixed + 1.0]])[0, 1] == np.float32(fixed) and gate.violations["bounds"] == 1
