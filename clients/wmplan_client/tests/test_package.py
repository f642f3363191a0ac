"""What the package offers, and what importing it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wmplan_client
from wmplan_client import PlanRequest

SOURCE = Path(str(wmplan_client.__file__)).parent


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after a statement; wmplan itself cannot be imported."""
    program = (
        f"import json, sys; sys.path.insert(0, {str(SOURCE.parent)!r}); sys.modules['wmplan'] = None\n"
        f"{statement}\n"
        "print(json.dumps([name for name, one in sys.modules.items() if getattr(one, '__spec__', None)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_public_names_are_there() -> None:
    for name in wmplan_client.__all__:
        assert getattr(wmplan_client, name) is not None
    assert set(wmplan_client.__all__) <= set(dir(wmplan_client))
    with pytest.raises(AttributeError, match="'wmplan_client' has no attribute 'PolicyCleint'"):
        wmplan_client.PolicyCleint  # noqa: B018


def test_it_needs_numpy_msgpack_and_websockets_and_nothing_else() -> None:
    of_python = set(sys.stdlib_module_names) | loaded_by("pass")  # what this interpreter loads at its start
    loaded = loaded_by("from wmplan_client import PolicyClient, PlanRequest, pack") - of_python
    assert {one for one in loaded if not one.startswith("_")} == {"wmplan_client", "numpy", "msgpack", "websockets"}


def test_requests_need_numpy_alone() -> None:
    assert not loaded_by("from wmplan_client import PlanRequest, PlanReply") & {"msgpack", "websockets"}


def test_types_are_declared() -> None:
    assert (SOURCE / "py.typed").exists()


@pytest.mark.parametrize("name", ["executed", "committed"])
def test_a_request_whose_robot_steps_are_no_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must have shape"):
        PlanRequest({}, **{name: np.zeros(2)})


@pytest.mark.parametrize("deadline", [-1.0, float("nan")])
def test_a_deadline_in_the_past_is_refused(deadline: float) -> None:
    with pytest.raises(ValueError, match="deadline_ms must be at least 0, got "):
        PlanRequest({}, deadline_ms=deadline)
