"""`wmplan suite name=NAME setup=DIR`: a virtual environment in which a public suite is installed beside this wmplan."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from wmplan.errors import NotPossibleError, UserError
from wmplan.registry import TASKS
from wmplan.settings.suggest import did_you_mean
from wmplan.suite_package import SuitePackage

BEHIND = "wmplan_behind.pth"
"""File that puts the packages of the environment that made it behind the suite's own."""


def suites() -> dict[str, SuitePackage]:
    """The public suites that have an adapter, by name."""
    return {entry.suite.name: entry.suite for entry in TASKS.values() if entry.suite is not None}


def find_suite(name: str) -> SuitePackage:
    """The suite of a name.

    Raises:
        UserError: if there is none.
    """
    there = suites()
    if name not in there:
        raise UserError(f"there is no suite {name!r}; {did_you_mean(name, there)}")
    return there[name]


def set_up_suite(name: str, setup: str | Path) -> Path:
    """Make a virtual environment with a suite in it; what is there already is kept.

    wmplan and all else come from the environment that runs this. What the suite pins to another version, MuJoCo for
    example, is installed in the new one, where it is found first.

    Args:
        name: of the suite.
        setup: folder of the virtual environment.

    Returns:
        its `wmplan`.

    Raises:
        UserError: if there is no such suite, the folder holds something else, or pip cannot install it.
    """
    suite, folder = find_suite(name), Path(setup)
    if not str(setup):
        raise UserError("setup is empty, it has to name a folder")
    if folder.exists() and not (folder / "pyvenv.cfg").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"setup={folder} must be a new folder or a virtual environment; it holds something else")
    bin_folder = folder / ("Scripts" if sys.platform == "win32" else "bin")
    python = (bin_folder / "python").absolute()
    if not _has_pip(python):  # also where making it was interrupted
        _make(folder)
    packages = _packages_of(python)
    behind = [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("-packages"))]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(behind)]
    (packages / BEHIND).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"installing {suite.name} in {folder}, which takes some minutes", file=sys.stderr)
    _run(
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *suite.own],
        f"{suite.name} in {folder}",
    )
    command = bin_folder / "wmplan"
    command.write_text(f"#!{python}\nimport sys\nfrom wmplan.cli import main\nsys.exit(main())\n", encoding="utf-8")
    command.chmod(0o755)
    needs = ", ".join(("wmplan", *(suite.needs or (suite.module,))))
    _run([str(python), "-c", f"import {needs}"], f"{suite.name} in {folder}")
    return command


def _has_pip(python: Path) -> bool:
    """Whether an interpreter is there and has pip."""
    return (
        python.exists() and not subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode
    )


def _make(folder: Path) -> None:
    """Make a virtual environment with pip."""
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError as error:  # Debian's Python has ensurepip in a package of its own
        raise NotPossibleError(
            f"setup={folder} cannot be made into a virtual environment: this Python cannot install pip into it "
            f"({' '.join(map(str, error.cmd[-3:]))} ended with {error.returncode}); on Debian and Ubuntu: apt install "
            "python3-venv"
        ) from None


def _packages_of(python: Path) -> Path:
    """Where an interpreter's packages are."""
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=True).stdout.strip())


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise NotPossibleError(f"{what} cannot be set up: {said}")
