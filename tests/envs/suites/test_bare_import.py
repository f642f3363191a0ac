"""A module is imported without the __init__ of its packages, and leaves nothing behind that is not whole."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from wmplan.envs.suites.bare_import import import_bare
from wmplan.errors import NotPossibleError
from wmplan.suite_package import SuitePackage

HEAVY = SuitePackage("heavy", "heavy_suite", ("heavy",), ("heavy",), ("heavy-suite",))


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose __init__ says that it ran, with one that fails below it."""
    folder = tmp_path / "heavy_suite"
    (folder / "worlds").mkdir(parents=True)
    (folder / "__init__.py").write_text("whole = True\n")
    (folder / "worlds" / "__init__.py").write_text("raise RuntimeError('loads what is not there')\n")
    (folder / "tools.py").write_text("def twice(x):\n    return 2 * x\n")
    (folder / "worlds" / "plain.py").write_text(
        "import heavy_suite\nfrom heavy_suite import tools\n\n"
        "def four():\n    return heavy_suite.tools.twice(tools.twice(1))\n"
    )
    (folder / "worlds" / "poor.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "heavy_suite"]:
        del sys.modules[name]


def test_it_runs_no_init_and_leaves_the_whole_package_to_others(heavy: Path) -> None:
    plain = import_bare(HEAVY, ["heavy_suite.tools", "heavy_suite.worlds.plain"])[-1]
    assert plain.four() == 4
    assert not any(name.startswith("heavy_suite") for name in sys.modules)
    assert importlib.import_module("heavy_suite").whole
    import_bare(HEAVY, ["heavy_suite.tools"])
    assert sys.modules["heavy_suite"].whole and plain.four() == 4


def test_what_is_not_there_is_named(heavy: Path) -> None:
    with pytest.raises(NotPossibleError, match="^heavy-suite lacks the module surely_not_installed: pip install heavy"):
        import_bare(HEAVY, ["heavy_suite.worlds.poor"])
    assert not any(name.startswith("heavy_suite") for name in sys.modules)
    with pytest.raises(NotPossibleError, match="^nowhere is not installed"):
        import_bare(SuitePackage("n", "nowhere_suite", ("n",), ("n",), ("nowhere",)), ["nowhere_suite.one"])
