"""Numbers are taken as Python, numpy and torch have them, by one rule, wherever the API takes numbers."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wmplan.bench import BenchConfig
from wmplan.control import Limits, RealtimeConfig
from wmplan.control.safety.workspace import Workspace
from wmplan.control.schedule import Schedule
from wmplan.data.collection import CollectConfig
from wmplan.diagnosis.diagnose import DiagnoseConfig
from wmplan.errors import UserError
from wmplan.evaluation import Protocol
from wmplan.models import JEPAConfig, ModelSpec
from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.icem import ICEMConfig
from wmplan.planning.mppi import MPPIConfig
from wmplan.robot_sim.config import RobotConfig
from wmplan.serving.config import Bounds
from wmplan.settings.numbers import as_float, as_int, finite_number, plain, whole_number, whole_numbers
from wmplan.training.config import StageConfig, TrainConfig

SPEC = ModelSpec((8, 8), 1, 5, (-1.0,), (1.0,), (0.0,), (1.0,), (4,))
CONFIGS: list[Any] = [
    *(BenchConfig(), RealtimeConfig(), Schedule(), Bounds(), Protocol(), DiagnoseConfig(), CEMConfig(), ICEMConfig()),
    *(MPPIConfig(), SPEC, JEPAConfig(), CollectConfig("t", "x", 3), RobotConfig("t", "x", clock="wall")),  # type: ignore[arg-type]
    *(
        StageConfig(3, 4, 1e-3),
        TrainConfig("d", "o"),
        Limits((-1.0, 0.0), (1.0, 2.0)),
        Workspace((0.0,), (1.0,), (0,), (0,), 1.0),
    ),
]
WHOLE: list[Callable[[int], Any]] = [np.int64, np.uint8, np.array, torch.tensor, float, np.float32]


def of_kind(config: Any, kind: type) -> list[tuple[str, Any]]:
    """Fields of a dataclass that are annotated as that kind, with their values."""
    hints = typing.get_type_hints(type(config))
    return [(field.name, getattr(config, field.name)) for field in fields(config) if hints[field.name] is kind]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_every_configuration_takes_numbers_of_numpy_and_torch_and_keeps_plain_ones(config: Any) -> None:
    for name, value in of_kind(config, int):
        for make in WHOLE:
            given = make(value) if value < 256 else np.int64(value)
            made = replace(config, **{name: given})
            assert made == config and type(getattr(made, name)) is int, (name, make)
    for name, value in of_kind(config, float):
        for number in (np.float64(value), np.array(value), torch.tensor(value, dtype=torch.float64)):
            made = replace(config, **{name: number})
            assert made == config and type(getattr(made, name)) is float, name
    for name, value in of_kind(config, bool):
        assert getattr(replace(config, **{name: np.bool_(value)}), name) is value


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_what_is_no_such_number_is_named(config: Any) -> None:
    wrong = {int: (True, np.bool_(False), 2.5, np.float64("nan"), "x", None, [1, 2]), float: (True, "x", None, np.nan)}
    for kind, values in wrong.items():
        for name, _ in of_kind(config, kind):
            for value in values:
                with pytest.raises(ValueError, match=name):
                    replace(config, **{name: value})
    for name, _ in of_kind(config, bool):
        with pytest.raises(ValueError, match=name):
            replace(config, **{name: 1})


def test_tuples_are_made_from_arrays() -> None:
    low, high = np.array([-1.0, -2.0], np.float32), torch.tensor([1.0, 2.0])
    limits = Limits(low, high, rest=np.zeros(2))  # type: ignore[arg-type]
    assert limits == Limits((-1.0, -2.0), (1.0, 2.0), rest=(0.0, 0.0))
    assert limits.rest_action().tolist() == [0.0, 0.0]
    assert CollectConfig("t", "x", 1, image_size=np.array([32, 48])).image_size == (32, 48)  # type: ignore[arg-type]
    json.dumps(asdict(replace(SPEC, action_low=low[:1])))


def test_a_planner_takes_seeds_and_times_as_users_have_them() -> None:
    def plan(seeds: Any, elapsed: Any) -> torch.Tensor:
        planner = CEM(CEMConfig(num_samples=16, num_iterations=2, num_elites=4, horizon=3), [-1.0], [1.0])
        planner.reset(seeds)
        planner.plan(lambda candidates: candidates.square().sum((-1, -2)))
        return planner.plan(lambda candidates: (candidates - 0.5).square().sum((-1, -2)), elapsed=elapsed).actions

    expected = plan([3], 2)
    for seeds in (3, np.int64(3), np.array([3]), torch.tensor([3]), (3.0,), range(3, 4), iter([3])):
        assert torch.equal(plan(seeds, 2), expected)
    for elapsed in (2.0, np.float64(2), np.int32(2), np.array(2), torch.tensor(2)):
        assert torch.equal(plan(3, elapsed), expected)
    for seeds, name in (
        (-1, "seeds"),
        (1.5, "seeds"),
        (True, "seeds"),
        ("3", "seeds"),
        ([None], "seeds"),
        (2**63, "seeds"),
    ):
        with pytest.raises(ValueError, match=name):
            plan(seeds, 2)
    for elapsed in (0.5, np.float64("inf"), "2", True, np.array([1, 2])):
        with pytest.raises(ValueError, match="elapsed"):
            plan(3, elapsed)


@given(st.integers(-(2**64), 2**64) | st.floats() | st.booleans())
def test_whole_numbers_are_those_that_python_calls_so(value: float) -> None:
    is_whole = not isinstance(value, bool) and (isinstance(value, int) or value.is_integer())
    assert (as_int(value) is not None) == is_whole
    assert as_int(value) in (None, value)
    assert as_float(value) in (None, float(value))


def test_numbers_beyond_a_float_are_none() -> None:
    assert as_float(10**400) is None and as_int(10**400) == 10**400
    with pytest.raises(UserError, match="rate must be a finite number, got 1000000"):
        finite_number(10**20 * 10**300, "rate")


def test_limits_are_told() -> None:
    with pytest.raises(UserError, match="n must be at least 1, got 0"):
        whole_number(np.int64(0), "n", 1)
    with pytest.raises(UserError, match="n must be from 1 to 8, got 9"):
        whole_numbers([3, 9], "n", 1, 8)


def test_plain_reaches_into_mappings_lists_and_tuples() -> None:
    given = {"a": [np.int64(1), (np.float32(0.5), None)], "b": {"c": np.arange(3), "d": torch.ones(2)}, "e": "text"}
    assert plain(given) == {"a": [1, (0.5, None)], "b": {"c": [0, 1, 2], "d": [1.0, 1.0]}, "e": "text"}
    json.dumps(plain(given))
