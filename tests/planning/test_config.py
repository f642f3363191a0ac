"""Settings are checked where they are made, and the error names them."""

from __future__ import annotations

import pytest

from wmplan.planning import PLANNERS, make_config, make_planner
from wmplan.settings.groups import choice_settings


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cem", {"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ("cem", {"num_samples": 2.5}, "num_samples must be a whole number, got 2.5"),
        ("cem", {"num_samples": True}, "num_samples must be a whole number, got True"),
        ("cem", {"num_elites": 301}, "num_elites must be from 1 to num_samples, which is 300, got 301"),
        (
            "cem",
            {"num_samples": 25, "num_iterations": 1},
            "num_elites must be from 1 to num_samples, which is 25, got 30, its default: give num_elites too",
        ),
        ("mppi", {"num_samples": 32}, "num_samples, which is 32, got 64, its default: give num_elites too"),
        ("hybrid", {"num_elites": 3}, "num_elites, which is 3, got 4, its default: give num_refined too"),
        ("cem", {"num_elites": 0}, "num_elites must be from 1 to num_samples, which is 300, got 0"),
        ("cem", {"init_std": -1.0}, "init_std must be at least 0.0, got -1.0"),
        ("cem", {"init_std": "wide"}, "init_std must be a number, got 'wide'"),
        ("cem", {"min_std": float("nan")}, "min_std must be a number, got nan"),
        ("cem", {"carry_best": 1}, "carry_best must be true or false, got 1"),
        (
            "cem",
            {"parameterization": "spline"},
            "parameterization must be one of free, held, spline-zero, spline-linear, spline-cubic, got 'spline'",
        ),
        ("cem", {"returns": "worst"}, "returns must be one of best, mean, got 'worst'"),
        ("icem", {"keep_fraction": 1.5}, "keep_fraction must be from 0.0 to 1.0, got 1.5"),
        ("icem", {"decay": 0.5}, "decay must be at least 1.0, got 0.5"),
        ("mppi", {"temperature": 0.0}, "temperature must be at least 1e-09, got 0.0"),
        ("hybrid", {"num_refined": 11}, "num_refined must be from 1 to num_elites, which is 10, got 11"),
        ("predictive_sampling", {"std_decay": 2}, "std_decay must be from 0.0 to 1.0, got 2.0"),
        ("gradient", {"learning_rate": -0.1}, "learning_rate must be at least 0.0, got -0.1"),
        ("gradient", {"num_elites": 3}, "planner gradient has no setting 'num_elites'; it has num_samples"),
        ("sampling", {}, "there is no planner 'sampling'; did you mean 'predictive_sampling'?"),
    ],
)
def test_a_wrong_setting_is_named(name: str, settings: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make_config(name, **settings)
    assert message in str(error.value)


@pytest.mark.parametrize("name", [*PLANNERS, "realtime", "research"])
def test_every_choice_makes_a_planner(name: str) -> None:
    settings = choice_settings("planner", name)
    planner = make_planner(settings.pop("name"), [-1.0] * 4, [1.0] * 4, action_block=2, **settings)
    for key, value in settings.items():
        assert getattr(planner.config, key) == value


def test_presets() -> None:
    research, realtime = choice_settings("planner", "research"), choice_settings("planner", "realtime")
    assert make_config(research.pop("name"), **research) == make_config(
        "cem", num_samples=300, num_iterations=30, num_elites=30, horizon=5, init_std=1.0, min_std=0.05, noise_beta=0.0
    )
    assert make_config(realtime.pop("name"), **realtime) == make_config(
        "icem",
        num_samples=100,
        num_iterations=3,
        num_elites=10,
        horizon=5,
        init_std=0.5,
        cold_start_samples=2400,
        min_std=0.05,
        noise_beta=2.0,
        keep_fraction=0.3,
        decay=1.25,
        momentum=0.1,
    )
