"""The data of the benchmarks: every published figure has a source, every protocol exists."""

from __future__ import annotations

import pytest

from wmplan.errors import UserError
from wmplan.registry import TASKS
from wmplan.settings.describe import meanings
from wmplan.settings.groups import read_yaml
from wmplan.settings.protocols import named_protocol
from wmplan.suite.benchmarks import chosen_benchmarks, suites
from wmplan.suite.run import run_suite


def test_every_figure_has_a_source_and_every_protocol_exists() -> None:
    for name, suite in read_yaml("suites.yaml").items():
        assert suite["about"] and set(suite) == {"about", "benchmarks"}, name
        for one in suite["benchmarks"]:
            named_protocol(one["protocol"])
            for figure in one.get("published", ()):
                assert 0 < figure["success"] <= 100 and figure["by"] and figure["source"]


def test_the_help_names_every_suite() -> None:
    said = meanings(run_suite)["name"]
    assert all(name in said for name in read_yaml("suites.yaml")) and set(suites()) <= set(read_yaml("suites.yaml"))


def test_benchmarks_are_chosen_by_suite_by_task_or_all() -> None:
    native = chosen_benchmarks("native")
    assert {one.task for one in native} == {"pusht", "arm_reach"}
    assert {one.protocol for one in chosen_benchmarks("pusht")} >= {"default", "lewm", "jepa_wms"}
    assert set(native) < set(chosen_benchmarks("all")) == {one for own in suites().values() for one in own}
    assert all(one.task in TASKS for one in chosen_benchmarks("all"))
    reach = next(one for one in chosen_benchmarks("metaworld") if one.task == "metaworld_reach")
    assert [one.success for one in reach.published] == [62.2, 58.2]
    with pytest.raises(UserError, match="there is no suite 'metawrld'; did you mean 'metaworld'"):
        chosen_benchmarks("metawrld")
