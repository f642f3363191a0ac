"""A mistake of the user's is told from a bug."""

from __future__ import annotations

import ast
import pickle
import types
from pathlib import Path

import pytest

import wmplan
from wmplan.errors import NotPossibleError, UserError
from wmplan.failures import for_other_process, user_message
from wmplan.models.errors import CheckpointError


def raised(program: str, module: str) -> Exception:
    """What running `program` in a module of that name raises."""
    home = types.ModuleType(module)
    with pytest.raises(Exception) as caught:
        exec(compile(program, f"<{module}>", "exec"), home.__dict__)
    return caught.value


def test_the_package_says_of_every_error_that_it_raises_whether_it_is_the_users() -> None:
    """A plain ValueError would be taken for a bug, so none is raised; the client is a distribution of its own."""
    root = Path(wmplan.__file__).parent
    plain = []
    for file in root.rglob("*.py"):
        if (root / "client") in file.parents:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            made = node.exc if isinstance(node, ast.Raise) else None
            made = made.func if isinstance(made, ast.Call) else made
            if isinstance(made, ast.Name) and made.id in ("ValueError", "ImportError"):
                plain.append(f"{file.name}:{node.lineno}")
    assert not plain


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, ImportError, TypeError, KeyError])
def test_other_errors_are_bugs(kind: type[Exception]) -> None:
    assert user_message(kind("x")) is None


def test_what_cannot_be_done_now_is_for_the_user_and_still_a_runtime_error() -> None:
    error = NotPossibleError("there is no goal:\n call reset(goal) first")
    assert user_message(error) == "there is no goal: call reset(goal) first"
    assert isinstance(error, RuntimeError) and isinstance(error, ValueError)


def test_user_errors_count_wherever_they_come_from() -> None:
    assert user_message(UserError("said so")) == "said so"


def test_the_system_refusing_is_for_the_user() -> None:
    assert user_message(raised("open('/no/such/file')", "wmplan.x")) == "/no/such/file: No such file or directory"
    assert user_message(OSError("no errno")) is None


@pytest.mark.parametrize("kind", [UserError, NotPossibleError, CheckpointError])
def test_a_mistake_stays_one_where_its_traceback_is_lost(kind: type[UserError]) -> None:
    """Between processes an error travels without the frames that tell whose it is."""
    travelled = pickle.loads(pickle.dumps(for_other_process(kind("width is 0"))))
    assert user_message(travelled) == "width is 0"
    bug = RuntimeError("a bug")
    assert for_other_process(bug) is bug
    refused = raised("open('/no/such/file')", "wmplan.x")
    assert for_other_process(refused) is refused
