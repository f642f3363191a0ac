import numpy as np
import pytest

from wmplan.errors import UserError
from wmplan.training.regions import Region, errors_by_region

NAMES = ("pusher_x_m", "block_x_m", "block_y_m")


def test_a_region_is_an_interval_of_the_distance() -> None:
    states = np.array([[9.0, 0.03, 0.04], [9.0, 0.06, 0.08], [9.0, 0.3, 0.4]])  # 5, 10 and 50 cm
    blocks = ("block_x_m", "block_y_m")
    assert Region(blocks, below=0.07).holds(states, NAMES).tolist() == [True, False, False]
    assert Region(blocks, above=0.07).holds(states, NAMES).tolist() == [False, True, True]
    assert Region(blocks, 0.07, 0.2).holds(states, NAMES).tolist() == [False, True, False]
    with pytest.raises(UserError, match="entries must be among pusher_x_m, block_x_m, block_y_m, got 'block_z_m'"):
        Region(("block_z_m",)).holds(states, NAMES)


def test_errors_are_told_by_region_unless_it_is_nearly_empty() -> None:
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, size=(1000, 3))
    states[:3, 1] = 5.0
    errors = np.abs(states) * [1.0, 1.0, 0.0]
    found = errors_by_region(
        errors, states, NAMES, {"near": Region(("block_x_m",), below=0.5), "far": Region(("block_x_m",), above=4)}
    )
    near = np.abs(states[:, 1]) < 0.5
    assert found["block_x_m"]["near"] == pytest.approx(np.quantile(errors[near, 1], [0.5, 0.9]), abs=1e-4)
    assert found["pusher_x_m"]["all"] == pytest.approx(np.quantile(errors[:, 0], [0.5, 0.9]), abs=1e-4)
    assert set(found["block_y_m"]) == {"all", "near"} and found["block_y_m"]["near"] == [0.0, 0.0]
