"""What is installed: names, what importing costs, and the files in the wheel."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import wmplan
import wmplan.client

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "mujoco", "matplotlib", "imageio", "gymnasium", "h5py", "hydra", "scipy", "numpy", "websockets")


def test_importing_loads_nothing_heavy() -> None:
    program = f"import sys, wmplan, wmplan.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there() -> None:
    for name in wmplan.__all__:
        assert getattr(wmplan, name) is not None
    assert callable(wmplan.load) and callable(wmplan.evaluate)
    for name in ("CEM", "ICEM", "MPPI", "PredictiveSampling", "Gradient"):
        assert isinstance(getattr(wmplan.planning, name), type)
    assert set(dir(wmplan)) == set(wmplan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        wmplan.lod  # noqa: B018


@pytest.mark.parametrize("name", ["", ".client", ".control", ".data", ".models", ".models.released"])
def test_types_of_public_names_are_those_at_run_time(name: str) -> None:
    """The imports for type checkers and the table for run time name the same objects, whatever was imported before."""
    package = importlib.import_module(f"wmplan{name}")
    tree = ast.parse(Path(str(package.__file__)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    named = {"__version__"} & set(package.__all__)
    for node in block.body:
        assert isinstance(node, ast.ImportFrom) and node.module
        home = importlib.import_module(f"{package.__name__}.{node.module}" if node.level else node.module)
        for alias in node.names:
            expected = getattr(home, alias.name, None) or importlib.import_module(f"{node.module}.{alias.name}")
            assert getattr(package, alias.name) is expected
            named.add(alias.name)
    assert named == set(package.__all__) <= set(dir(package))


def test_a_public_name_is_not_hidden_by_a_module_of_the_same_name() -> None:
    sys.modules.pop("wmplan.data.collect", None)
    with pytest.warns(DeprecationWarning, match="wmplan.data.collect is now wmplan.data.collection"):
        module = importlib.import_module("wmplan.data.collect")
    from wmplan.data import collect

    assert collect is module.collect and callable(collect)


def test_wheel_holds_every_module_and_data_file(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    source = tmp_path / "source"  # building in the checkout would leave files there
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        if name.split("/")[0] in ("wmplan", "envs", "configs") or "/" not in name:
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                target.write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("wmplan-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    homes = {"wmplan": "wmplan", "envs": "wmplan/envs", "configs": "wmplan/configs"}
    for name in tracked.stdout.splitlines():
        top, _, rest = name.partition("/")
        if top in homes and rest and (ROOT / name).is_file():
            assert f"{homes[top]}/{rest}" in held, f"{name} is not in the wheel"
    assert not [name for name in held if not name.startswith(("wmplan/", "wmplan-"))], (
        "something else would be installed"
    )


def test_the_client_by_itself_is_the_one_of_this_package() -> None:
    """clients/wmplan_client holds no copy: what wmplan-client installs is wmplan.client, of the same version."""
    link = ROOT / "clients" / "wmplan_client" / "wmplan_client"
    if not link.is_symlink():
        pytest.skip("a checkout without symbolic links")
    assert link.resolve() == Path(str(wmplan.client.__file__)).parent
    assert wmplan.client.__version__ == wmplan.__version__


def test_constraints_pin_every_dependency_within_its_bounds() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().lower().splitlines()
        if line and line[0] != "#"
    )
    assert pins["torch"] == "2.13.0"
    for text in requires("wmplan") or []:
        requirement = Requirement(text)
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        suites = requirement.marker is not None and requirement.marker.evaluate({"extra": "suites"})
        if name == "wmplan" or suites:
            continue
        pin = {re.sub(r"[-_.]+", "-", one): version for one, version in pins.items()}.get(name)
        assert pin and requirement.specifier.contains(pin), f"{text} is pinned at {pin}"


def test_version_is_the_installed_one() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert metadata["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "wmplan.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", wmplan.__version__)
