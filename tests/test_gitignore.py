"""What the README's commands write is not offered to git."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_output_folders_of_the_readme_are_ignored() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    written = {one for one in re.findall(r"\bout=([\w/]+)", (ROOT / "README.md").read_text()) if one != "DIR"}
    assert written
    done = subprocess.run(
        ["git", "check-ignore", *(f"{one}/file" for one in sorted({*written, "demo"}))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert {line.removesuffix("/file") for line in done.stdout.split()} == {*written, "demo"}
