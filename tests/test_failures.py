"""A mistake of the user's is told from a bug."""

from __future__ import annotations

import pickle
import types

import pytest

from wmplan.errors import UserError
from wmplan.failures import for_other_process, user_message


def raised(program: str, module: str) -> Exception:
    """What running `program` in a module of that name raises."""
    home = types.ModuleType(module)
    with pytest.raises(Exception) as caught:
        exec(compile(program, f"<{module}>", "exec"), home.__dict__)
    return caught.value


@pytest.mark.parametrize("kind", ["ValueError", "RuntimeError", "ImportError"])
def test_what_the_package_raises_on_purpose_is_for_the_user(kind: str) -> None:
    program = f"def check():\n    raise {kind}('width is 0,\\n it has to be at least 1')\ncheck()"
    assert user_message(raised(program, "wmplan.x")) == "width is 0, it has to be at least 1"
    assert user_message(raised(program, "other")) is None
    assert user_message(raised(program, "wmplanner")) is None


def test_what_a_library_makes_of_the_package_is_a_bug() -> None:
    assert user_message(raised("int('x')", "wmplan.x")) is None
    assert user_message(raised("import no_such_module", "wmplan.x")) is None
    assert user_message(raised("raise TypeError('x')", "wmplan.x")) is None
    assert user_message(raised("raise KeyError('x')", "wmplan.x")) is None


def test_user_errors_count_wherever_they_come_from() -> None:
    assert user_message(UserError("said so")) == "said so"


def test_the_system_refusing_is_for_the_user() -> None:
    assert user_message(raised("open('/no/such/file')", "wmplan.x")) == "/no/such/file: No such file or directory"
    assert user_message(OSError("no errno")) is None


@pytest.mark.parametrize("kind", ["ValueError", "RuntimeError", "ImportError"])
def test_a_mistake_stays_one_where_its_traceback_is_lost(kind: str) -> None:
    """Between processes an error travels without the frames that tell whose it is."""
    ours = raised(f"raise {kind}('width is 0')", "wmplan.x")
    travelled = pickle.loads(pickle.dumps(for_other_process(ours)))
    assert user_message(travelled) == "width is 0"
    bug = raised(f"raise {kind}('a bug')", "library")
    assert for_other_process(bug) is bug
    refused = raised("open('/no/such/file')", "wmplan.x")
    assert for_other_process(refused) is refused
