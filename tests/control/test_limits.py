"""The last gate: its output obeys the limits for any input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wmplan.control.gate import LimitsGate, NonFiniteActionError
from wmplan.control.limits import Limits

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
        ({"low": (0.0,), "high": (float("nan"),)}, r"limits\.high\[0\] is nan"),
        ({"low": (0.0,), "high": (1.0,), "max_change": (0.0,)}, "max_change"),
        ({"low": (0.0,), "high": (1.0,), "rest": (2.0,)}, "rest"),
        ({"low": (0.0,), "high": (1.0,), "on_non_finite": "ignore"}, "on_non_finite"),
    ],
)
def test_wrong_limits_name_the_field(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**settings)


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
