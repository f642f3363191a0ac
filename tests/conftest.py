"""What several folders of tests need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def client_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has wmplan-client and neither wmplan nor torch: WMPLAN_CLIENT_PYTHON, or one made here."""
    if named := os.environ.get("WMPLAN_CLIENT_PYTHON"):
        return named
    folder = tmp_path_factory.mktemp("robots_computer")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = str(folder / "venv" / "bin" / "python")
    source = _copy_of_the_client(folder / "source")  # building in the checkout would leave files there
    install = [python, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(source)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    if done.returncode:
        pytest.skip(f"WMPLAN_CLIENT_PYTHON is not set, and making an environment failed: {done.stderr.strip()[-200:]}")
    return python


def _copy_of_the_client(target: Path) -> Path:
    package = ROOT / "wmplan" / "client"
    (target / "wmplan_client").mkdir(parents=True)
    for path in (*package.glob("*.py"), package / "py.typed"):
        (target / "wmplan_client" / path.name).write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md"):
        (target / name).write_bytes((ROOT / "clients" / "wmplan_client" / name).read_bytes())
    return target
