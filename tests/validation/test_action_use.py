"""When an entry of the action counts as predicted."""

from __future__ import annotations

import pytest

from wmplan.validation.action_use import EntryUse


@pytest.mark.parametrize(
    ("in_data", "in_model", "error_rise", "predicted"),
    [
        (0.8, 0.8, 0.5, True),
        (0.8, 0.0, 0.0, False),  # it moves things, and the prediction knows nothing of it
        (0.8, 0.0, -0.5, False),  # the prediction has it the wrong way round
        (0.8, 0.0, 0.5, True),  # a rough prediction, which is worse without it
        (0.01, 0.0, 0.0, True),  # nothing is seen of it in the data
    ],
)
def test_an_entry_is_predicted_where_the_data_shows_it(
    in_data: float, in_model: float, error_rise: float, predicted: bool
) -> None:
    assert EntryUse(0, "gripper", in_data, in_model, error_rise).predicted is predicted
