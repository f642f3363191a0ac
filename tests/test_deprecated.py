"""Old names work, with a warning, and give the very same modules and classes."""

import importlib
import sys
import warnings

import pytest

from wmplan.deprecated import MOVED, new_name


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_gives_the_module_of_the_new_one(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]}"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(MOVED[old])
    assert module.__name__ == MOVED[old] and module.__spec__ is not None and module.__spec__.name == MOVED[old]


def test_what_lies_below_a_package_that_moved_moves_with_it() -> None:
    assert new_name("wmplan.control.server.metrics") == "wmplan.serving.metrics"
    assert new_name("wmplan.models.public.lewm") == "wmplan.models.released.lewm"
    assert new_name("wmplan.planning.cem") is None and new_name("wmplan.nothing") is None


def test_new_names_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for new in set(MOVED.values()):
            importlib.import_module(new)


def test_a_module_that_never_was_is_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="wmplan.control.nothing"):
        importlib.import_module("wmplan.control.nothing")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("wmplan.planning", "Penalty", "wmplan.planning.SoftConstraint"),
        ("wmplan.planning", "Rejection", "wmplan.planning.HardConstraint"),
        ("wmplan.planning", "OracleCost", "wmplan.evaluation.oracle.OracleCost"),
        ("wmplan.planning.constraints", "Penalty", "wmplan.planning.constraints.SoftConstraint"),
        ("wmplan.planning.constraints", "Rejection", "wmplan.planning.constraints.HardConstraint"),
    ],
)
def test_an_old_name_in_a_module_gives_what_the_new_one_does(module: str, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module}.{old} is now {new}"):
        found = getattr(importlib.import_module(module), old)
    home, _, name = new.rpartition(".")
    assert found is getattr(importlib.import_module(home), name)


def test_a_name_that_never_was_in_a_module_is_still_missing() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'wmplan.planning'"):
        from wmplan.planning import Nothing  # noqa: F401
