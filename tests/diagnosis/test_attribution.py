"""The rules of the verdict, on cases whose answer is known."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from wmplan.diagnosis.attribution import PlanPair, rank_correlation, regret_by_part, verdict

SEARCH = PlanPair(true=(5.0, 1.0), cost=(3.0, 2.0), predicted=(5.0, 1.0), seen=(5.0, 1.0))
OBJECTIVE = PlanPair(true=(5.0, 1.0), cost=(2.0, 3.0), predicted=(5.0, 1.0), seen=(5.0, 1.0))
PREDICTOR = PlanPair(true=(5.0, 1.0), cost=(2.0, 3.0), predicted=(1.0, 1.0), seen=(5.0, 1.0))
ENCODER = PlanPair(true=(5.0, 1.0), cost=(2.0, 3.0), predicted=(1.0, 1.0), seen=(3.0, 3.0))
NOTHING = PlanPair(true=(1.1, 1.0), cost=(2.0, 3.0), predicted=(1.0, 1.0), seen=(3.0, 3.0))
SWAPS = {"probe_succeeds": False, "oracle_helps": True, "encoder_error": 0.1, "predictor_error": 0.1}


@pytest.mark.parametrize(
    ("pair", "part"),
    [(SEARCH, "search"), (OBJECTIVE, "objective"), (PREDICTOR, "predictor"), (ENCODER, "encoder"), (NOTHING, None)],
)
def test_the_first_part_that_loses_the_regret_is_to_blame(pair, part):
    assert pair.blame() == part


def test_regret_is_never_negative_and_adds_up_by_part():
    assert PlanPair((1.0, 2.0), (0, 0), (0, 0), (0, 0)).regret == 0
    assert regret_by_part([SEARCH, SEARCH, ENCODER, NOTHING]) == {
        "encoder": 4.0, "predictor": 0.0, "objective": 0.0, "search": 8.0,
    }  # fmt: skip


def test_what_happens_with_a_part_replaced_counts_more_than_regret():
    assert verdict([ENCODER], **(SWAPS | {"probe_succeeds": True})) == "objective"
    assert verdict([ENCODER], **(SWAPS | {"oracle_helps": False})) == "search"
    assert verdict([ENCODER, PREDICTOR, PREDICTOR], **SWAPS) == "predictor"
    assert verdict([ENCODER, ENCODER, SEARCH], **(SWAPS | {"oracle_helps": None})) == "encoder"


def test_an_encoder_that_does_not_see_well_enough_comes_before_all_else():
    blind = SWAPS | {"encoder_error": 2.0}
    assert verdict([SEARCH], **blind) == "encoder"
    assert verdict([SEARCH], **(blind | {"probe_succeeds": True, "oracle_helps": False})) == "encoder"


def test_without_regret_the_errors_decide():
    assert verdict([NOTHING], **(SWAPS | {"predictor_error": 3.0})) == "predictor"
    assert verdict([NOTHING], **SWAPS) == "search"


@pytest.mark.parametrize("levels", [3, 1000])  # with many ties, and with few
def test_rank_correlation_is_scipys(levels):
    rng = np.random.default_rng(levels)
    for _ in range(20):
        cost = rng.integers(levels, size=40).astype(float)
        distance = cost * rng.uniform(-1, 1) + rng.normal(0, levels / 4, 40).round()
        assert rank_correlation(cost, distance) == pytest.approx(spearmanr(cost, distance).statistic, abs=1e-12)


def test_rank_correlation_of_constants_and_of_costs_that_are_not_finite():
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert rank_correlation([1, 2, np.nan], [1, 2, 3]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, np.inf], [1, 2, 0]) < 0
