"""A suite that is not installed is said in one line, with the commands that install it."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import wmplan
from wmplan.cli import main
from wmplan.data.registered import make_environment
from wmplan.errors import NotPossibleError, UserError
from wmplan.evaluation.machine import versions
from wmplan.listing import list_tasks
from wmplan.registry import TASKS, TaskEntry
from wmplan.suite_package import SuitePackage
from wmplan.suite_setup import find_suite, set_up_suite, suites

NOWHERE = SuitePackage("nowhere", "nowhere_suite", ("nowhere>=1",), ("nowhere",), ("nowhere",))
ADVICE = 'pip install "nowhere>=1", or, in an environment of its own: wmplan suite name=nowhere setup=DIR'


def test_a_missing_package_is_named_with_its_commands() -> None:
    assert not NOWHERE.is_installed and NOWHERE.advice == ADVICE
    with pytest.raises(NotPossibleError, match="^nowhere is not installed: pip install"):
        NOWHERE.require()
    there = SuitePackage("json", "json", ("json",), ("json",), ("json",))
    there.require()
    assert there.is_installed


def test_notices_of_farama_about_a_suite_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    notices = {"json": {"1.0": "of tasks that nobody has asked for"}, "other": {}}
    monkeypatch.setitem(sys.modules, "farama_notifications", SimpleNamespace(notifications=notices))
    SuitePackage("json", "json", ("json",), ("json",), ("json",)).require()
    assert list(notices) == ["other"]


def test_tasks_of_a_missing_suite_are_listed_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> None:
        NOWHERE.require()

    monkeypatch.setattr(make, "__module__", "wmplan.envs.nowhere")
    wmplan.register_task("nowhere_task", id="wmplan.envs:wmplan/Nowhere-v0", suite=NOWHERE)(make)
    try:
        assert f"  nowhere is not installed: {ADVICE}" in list_tasks().splitlines()
        with pytest.raises(UserError, match="task 'wmplan.envs:wmplan/Nowhere-v0' cannot be made: nowhere is not inst"):
            make_environment("wmplan.envs:wmplan/Nowhere-v0", {})
        assert find_suite("nowhere") is NOWHERE
    finally:
        TASKS._entries.pop("nowhere_task")


def test_a_suite_of_a_version_that_does_not_run_is_told_with_its_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = ("numpy", "no-such-distribution")
    there = SuitePackage("aged", "numpy", ("aged>=2",), ("aged>=2",), versions)

    def make(**options: int) -> None:
        raise TypeError("unexpected keyword 'x'") if options else AttributeError("no attribute\n'renamed'")

    monkeypatch.setattr(make, "__module__", "wmplan.envs.aged")
    identity = "wmplan.envs:wmplan/Aged-v0"
    wmplan.register_task("aged_task", id=identity, suite=there)(make)
    try:
        with pytest.raises(UserError) as said:
            make_environment(identity, {})
        head, told = str(said.value).split("; ")
        assert head == f"task '{identity}' cannot be made: AttributeError: no attribute 'renamed'"
        assert told == (
            f"numpy is there and does not run (here: numpy {np.__version__}, no-such-distribution unknown): pip "
            'install "aged>=2", or, in an environment of its own: wmplan suite name=aged setup=DIR'
        )
        with pytest.raises(UserError, match="cannot be made: TypeError: unexpected keyword 'x'") as said:
            make_environment(identity, {"x": 1})  # a mistake in an option, not of the suite
        assert "does not run" not in str(said.value)
        listed = list_tasks().splitlines()
        assert f"  task '{identity}' cannot be made: AttributeError: no attribute 'renamed'; {told}" in listed
        assert any(line.startswith("pusht  (") for line in listed)  # the others are listed all the same
    finally:
        TASKS._entries.pop("aged_task")


def test_versions_of_a_suite_without_metadata_are_recorded_as_unknown() -> None:
    told = versions(("no-such-distribution",))
    assert told["no-such-distribution"] == "unknown" and told["numpy"] == np.__version__


def test_the_suites_have_their_tasks() -> None:
    assert "metaworld" in suites()
    tasks = [name for name, entry in TASKS.items() if entry.suite is suites()["metaworld"]]
    assert [name.removeprefix("metaworld_") for name in tasks] == [
        *("reach", "reach_wall", "push", "drawer_open", "button_press")
    ]
    assert TaskEntry("one", "ID").suite is None


def test_wrong_settings_are_one_line(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["suite", "name=metaworl", f"setup={tmp_path / 'new'}"]) == 2
    assert main(["suite", "name=metaworld", f"setup={tmp_path}"]) == 2
    assert main(["suite", "name=metaworld", "setup="]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "wmplan suite: there is no suite 'metaworl'; did you mean 'metaworld'?"
    assert said[1].startswith("wmplan suite: setup=") and "holds something else" in said[1]
    assert said[2] == "wmplan suite: setup is empty, it has to name a folder"
    assert (tmp_path / "mine.txt").read_text() == "mine"


BROKEN = SuitePackage("broken", "broken", (), ("./no such folder",), ("broken",))


def test_what_pip_says_is_told_also_where_making_the_environment_was_interrupted(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmplan.suite_setup.suites", lambda: {"broken": BROKEN})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "pyvenv.cfg").write_text("home = nowhere")  # the first file of a new one
    with pytest.raises(NotPossibleError, match="broken in .* cannot be set up: ERROR"):
        set_up_suite("broken", tmp_path / "new")
    made = (tmp_path / "new" / "pyvenv.cfg").stat().st_mtime_ns
    with pytest.raises(NotPossibleError, match="cannot be set up: ERROR"):
        set_up_suite("broken", tmp_path / "new")
    assert (tmp_path / "new" / "pyvenv.cfg").stat().st_mtime_ns == made  # what is there is kept


def test_a_python_that_makes_no_environments_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(folder: object, with_pip: bool) -> None:
        raise subprocess.CalledProcessError(1, ["python", "-m", "ensurepip", "--upgrade", "--default-pip"])

    monkeypatch.setattr("wmplan.suite_setup.suites", lambda: {"broken": BROKEN})
    monkeypatch.setattr("venv.create", create)
    with pytest.raises(
        NotPossibleError, match="cannot be made into a virtual environment: .* apt install python3-venv"
    ):
        set_up_suite("broken", tmp_path / "new")
