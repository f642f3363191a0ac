"""How far a motion goes until it is at rest, in closed form.

The numbers of an action are velocities (or displacements per robot step) that come to zero by the fastest way that does
not overshoot it, as Dynamics.towards_rest() goes step by step. With a the action, A its largest acceleration and C its
largest change, both from one step to the next, that way has four parts, each a polynomial in the number of its steps:

    overshoot   change + A    while it is too fast to stop at zero; a then crosses it, and all is mirrored
    turn        change - A    until the change is as fast towards zero as it may be
    cruise      -C
    arrive      -fastest(a, A), which then shrinks by A each step
"""

from __future__ import annotations

import numpy as np

from wmplan.control.safety.dynamics import Array, fastest


def way_to_rest(action: Array, change: Array, largest: Array | None, acceleration: Array | None) -> tuple[Array, Array]:
    """The sum of actions from `action`, whose change from the one before was `change`, to rest.

    Args:
        largest: change of an action; None for no limit.
        acceleration: largest change of the change; None for no limit.

    Returns:
        Where the way turns back, which is where it ends if it does not, and where it ends. In between it is straight.
    """
    if acceleration is None:
        end = action if largest is None else np.sign(action) * _slowing(np.abs(action), largest)
        return end, end
    side = np.where(action != 0, np.sign(action), np.sign(change))
    first, slope = side * action, side * change  # first is at least zero
    too_fast = slope + acceleration < -fastest(first, acceleration)
    if not too_fast.any():
        end = side * (first + _rest(first, slope, largest, acceleration))
        return end, end
    steps = np.where(too_fast, _steps_to_zero(first, slope, acceleration), 0.0)
    turn = first + _ramp(first, slope, acceleration, np.maximum(steps - 1, 0.0))
    crossed = first + _ramp(first, slope, acceleration, steps)
    mirror = np.where(too_fast, -1.0, 1.0)
    left = mirror * (first + steps * slope + acceleration * steps * (steps + 1) / 2)
    end = crossed + mirror * _rest(
        np.maximum(left, 0.0), mirror * (slope + steps * acceleration), largest, acceleration
    )
    return side * np.where(too_fast, turn, end), side * end


def _rest(action: Array, change: Array, largest: Array | None, acceleration: Array) -> Array:
    """The sum of the actions after `action`, which is at least zero, in the turn, the cruise and the arrival."""
    steps = _steps_of_turn(action, change, largest, acceleration)
    way = _ramp(action, change, -acceleration, steps)
    action = np.maximum(action + steps * change - acceleration * steps * (steps + 1) / 2, 0.0)
    if largest is not None:
        cruise = np.maximum(np.floor((action - _slowing(largest, acceleration)) / largest) + 1, 0.0)
        way = way + cruise * action - largest * cruise * (cruise + 1) / 2
        action = np.maximum(action - cruise * largest, 0.0)
    speed = fastest(action, acceleration)
    n = np.floor((np.sqrt(1 + 8 * action / acceleration) - 1) / 2)  # steps after the first, as in fastest()
    return way + (n + 1) * (action - speed * (n + 2) / 2 + acceleration * n * (n + 2) / 6)


def _steps_of_turn(action: Array, change: Array, largest: Array | None, acceleration: Array) -> Array:
    """The steps in which the change goes down by `acceleration`, by halving: once it need not, it never has to."""
    high = np.ceil((change + np.sqrt(change**2 + 2 * acceleration * action)) / acceleration) + 1
    if largest is not None:
        high = np.minimum(high, np.ceil((change + largest) / acceleration) + 1)
    low, high = np.zeros(high.shape), np.maximum(high, 0.0)
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        speed = fastest(action + middle * change - acceleration * middle * (middle + 1) / 2, acceleration)
        least = speed if largest is None else np.minimum(speed, largest)
        goes_on = (change - (middle + 1) * acceleration >= -least) & (low < high)
        low, high = np.where(goes_on, middle + 1, low), np.where(goes_on, high, middle)
    return low


def _steps_to_zero(first: Array, slope: Array, acceleration: Array) -> Array:
    """The steps after which first + k slope + acceleration k (k + 1) / 2 is no longer above zero."""
    half = slope + acceleration / 2
    return np.ceil((-half - np.sqrt(np.maximum(half**2 - 2 * acceleration * first, 0.0))) / acceleration)


def _ramp(first: Array, slope: Array, acceleration: Array, steps: Array) -> Array:
    """The sum of first + i slope + acceleration i (i + 1) / 2 for i from 1 to `steps`."""
    return steps * (first + (steps + 1) * (slope / 2 + acceleration * (steps + 2) / 6))


def _slowing(first: Array, step: Array) -> Array:
    """The sum of `first` and all that follow while it comes to zero by `step` each time."""
    steps = np.floor(first / step)
    return first * (steps + 1) - step * steps * (steps + 1) / 2
