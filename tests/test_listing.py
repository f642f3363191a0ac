"""Tables say what results and tasks say."""

from __future__ import annotations

from wmplan.listing import list_tasks, results_table


def test_results() -> None:
    rule = {"success": 0.855, "success_ci95": [0.8, 0.9], "success_at_end": 0.5}
    row = {"rules": {"public": rule, "block": {**rule, "success": 1.0}}, "gap_closed": 0.25, "plan_ms": {"p50": 31.4}}
    noop = {**row, "plan_ms": {"p50": None}}
    result = {
        "rows": {"planner": row, "noop": noop},
        "episodes": 7,
        "seed": 3,
        "protocol": {"offset": 25, "budget": 50},
    }
    lines = results_table(result).splitlines()
    assert lines[1].split() == ["planner", "85.5", "[80,", "90]", "50", "100", "[80,", "90]", "50", "25", "31"]
    assert lines[2].split()[-1] == "-"
    assert "7 held-out instances, seed 3" in lines[-1]
    assert "\n1 held-out instance, seed 3" in results_table({**result, "episodes": 1})
    one = results_table({**result, "episodes": 1, "settings": {"instances": "data/mine"}})
    assert "\n1 instance of data/mine, seed 3" in one


def test_the_flag_of_the_environment_is_said_to_be_about_another_goal_where_it_may_be() -> None:
    rule = {"success": 1.0, "success_ci95": [0.8, 1.0], "success_at_end": 1.0}
    rows = {"noop": {"rules": {"object": rule, "environment": rule}, "gap_closed": None, "plan_ms": {"p50": None}}}
    protocol = {"offset": 25, "budget": 50, "rule": "object"}
    result = {"rows": rows, "episodes": 7, "seed": 3, "protocol": protocol}
    said = "environment is the environment's own flag"
    assert said in results_table(result) and said in results_table({**result, "settings": {"instances": "data/mine"}})
    about_it = [{"settings": {"instances": "goals"}}, {"settings": {"instances": "expert"}}]
    about_it.append({"protocol": {**protocol, "rule": "environment"}})
    assert all(said not in results_table({**result, **one}) for one in about_it)


def test_results_say_how_soon_the_planner_succeeds() -> None:
    rule = {
        "success": 0.9,
        "success_ci95": [0.8, 0.95],
        "success_at_end": 0.5,
        "success_by": {"25": 0.4, "50": 0.9},
        "median_steps": 26.5,
    }
    row = {"rules": {"public": rule}, "gap_closed": 0.25, "plan_ms": {"p50": 31.4}}
    result = {"rows": {"planner": row}, "episodes": 7, "seed": 3, "protocol": {"offset": 25, "budget": 50}}
    said = "planner, public: 40 % by step 25, 90 % by step 50; half of its successes by step 26"
    assert said in results_table(result).splitlines()
    rule["median_steps"] = None  # it never succeeded
    assert len(results_table(result).splitlines()) == 3


def test_tasks_are_described_from_their_environments() -> None:
    text = list_tasks()
    push, arm = text[text.index("pusht  (") :], text[: text.index("pusht  (")]
    assert "public, block (the first counts)" in push and "pusher_vx_m_s from -0.2 to 0.2" in push
    assert arm.startswith("arm_reach  (wmplan.envs:wmplan/ArmReach-v0") and "pose" in arm
