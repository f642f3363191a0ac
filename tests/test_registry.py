"""Registries: names, doubles, plug-ins named by hand and installed ones, and what looking a name up loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wmplan.errors import UserError
from wmplan.registry import Registry


def test_entries_are_a_mapping_in_the_order_of_registration() -> None:
    registry: Registry[object] = Registry("thing")

    @registry.register("one")
    def one() -> int:
        return 1

    @registry.register("another")
    class Another: ...

    assert dict(registry) == {"one": one, "another": Another} and list(registry) == ["one", "another"]
    assert one() == 1 and registry["one"] is one and registry.get("none") is None and "none" not in registry


def test_unknown_names_are_answered_with_what_was_meant() -> None:
    registry: Registry[object] = Registry("thing")
    registry.register("spanner")(lambda: None)
    with pytest.raises(UserError, match="^there is no thing 'spaner'; did you mean 'spanner'\\?$"):
        registry["spaner"]


def test_a_name_is_given_once() -> None:
    registry: Registry[object] = Registry("thing")

    def make(number: int):
        @registry.register("mine")
        class Mine:
            value = number

        return Mine

    make(1), make(2)  # a cell of a notebook that is run again
    assert registry["mine"].value == 2  # type: ignore[attr-defined]

    class Other: ...

    with pytest.raises(UserError, match="^thing 'mine' is registered twice, by .*Mine and by .*Other$"):
        registry.register("mine")(Other)
    with pytest.raises(UserError, match="must be letters, digits and underscores, got 'my-own'"):
        registry.register("my-own")(Other)


def run(program: str, folder: Path, plugins: str | None = None) -> str:
    """What a program prints that finds modules in `folder`, and its last line on standard error where it fails."""
    import os

    environ = {**os.environ, "PYTHONPATH": str(folder)}
    environ.pop("WMPLAN_PLUGINS", None)
    if plugins is not None:
        environ["WMPLAN_PLUGINS"] = plugins
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environ)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


READER = "import wmplan\n@wmplan.register_reader('mine')\nclass Mine: ...\n"


def test_plugins_are_loaded_when_a_name_is_missing(tmp_path: Path) -> None:
    (tmp_path / "strangers.py").write_text(f"print('loaded')\n{READER}")
    program = "from wmplan.registry import READERS; print('first'); print(READERS['mine'].__module__)"
    assert run(program, tmp_path, "strangers").split() == ["first", "loaded", "strangers"]
    program = "from wmplan.plugins import add_plugins; import os; add_plugins(['strangers']); add_plugins('strangers')"
    program += "; print(os.environ['WMPLAN_PLUGINS'])"
    assert run(program, tmp_path).split() == ["loaded", "strangers"]


def test_installed_plugins_are_found_by_their_entry_point(tmp_path: Path) -> None:
    (tmp_path / "strangers.py").write_text(f"def register():\n    {READER.replace(chr(10), chr(10) + '    ')}")
    about = tmp_path / "strangers-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[wmplan.plugins]\nany = strangers:register\n")
    assert run("from wmplan.registry import READERS; print('mine' in READERS)", tmp_path) == "True"
    (tmp_path / "strangers.py").write_text("def register():\n    raise RuntimeError('no\\nluck')")
    said = run("from wmplan.registry import READERS; list(READERS)", tmp_path)
    assert said.endswith("plug-in any (strangers:register) cannot be loaded: RuntimeError: no luck")


def test_a_plugin_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = run("from wmplan.registry import READERS; list(READERS)", tmp_path, "strangers")
    assert said.endswith("plug-in strangers cannot be loaded: ModuleNotFoundError: No module named 'strangers'")
