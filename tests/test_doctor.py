"""The doctor sees what is missing, and names the command that mends it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from wmplan import doctor
from wmplan.doctor import Finding


def test_status_is_one_only_where_something_needed_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def only(finding: Finding) -> int:
        def look() -> Iterator[Finding]:
            yield finding

        monkeypatch.setattr(doctor, "LOOKS", (look,))
        return doctor.examine()

    assert only(Finding("a", "there", needed=True)) == 0
    assert only(Finding("a", "gone", False, "mend a")) == 0
    assert "fix: mend a" in capsys.readouterr().out
    assert only(Finding("a", "gone", False, "mend a", needed=True)) == 1
    out = capsys.readouterr().out
    assert "MISSING a" in out and "missing of what wmplan demo needs: 1" in out


def test_packages_are_those_the_project_asks_for() -> None:
    found = {one.what: one for one in doctor.look_at_packages()}
    assert found["mujoco"].value == importlib.metadata.version("mujoco")
    assert {"torch", "numpy", "hydra-core"} <= set(found) and not {"pytest", "transformers"} & set(found)
    assert all(one.fine and one.needed for one in found.values())


def test_missing_and_too_old_packages_are_mended_by_pip() -> None:
    gone = doctor._installed(Requirement("no-such-package>=2"))
    assert not gone.fine and gone.value == "not installed" and gone.mend == 'pip install "no-such-package>=2"'
    old = doctor._installed(Requirement("numpy>=999"))
    assert not old.fine and ">=999" in old.value


def test_extras_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "msgpack":
            raise importlib.metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {one.value.split("]")[0] + "]": one for one in doctor.look_at_extras()}
    assert "lacks msgpack" in found["[serve]"].value and found["[serve]"].mend == 'pip install "msgpack>=1.0"'
    assert not found["[serve]"].needed


def test_a_frame_is_drawn() -> None:
    (found,) = doctor.look_at_drawing()
    assert found.fine, found.value
    assert " ms with " in found.value


def test_a_driver_that_fails_or_crashes_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def crash(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return real([sys.executable, "-c", "import os; os.abort()"], capture_output=True, text=True)

    monkeypatch.setattr(subprocess, "run", crash)
    (found,) = doctor.look_at_drawing()
    assert not found.fine and found.needed and "libegl1" in found.mend and "status -6" in found.value


def test_a_frame_of_one_colour_is_not_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.dumps({"backend": "egl", "renderer": "r", "ms": 1.0, "varied": False})
    done = subprocess.CompletedProcess([], 0, stdout=report + "\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    (found,) = doctor.look_at_drawing()
    assert not found.fine and found.needed


def test_disk_that_is_nearly_full_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert [one.what for one in doctor.look_at_room()] == ["disk", "memory"]
    monkeypatch.setattr(doctor, "FREE_BYTES", 1e30)
    disk = next(iter(doctor.look_at_room()))
    assert not disk.fine and not disk.needed


def test_arithmetic_says_whether_bf16_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmplan.machine._run_and_waited", lambda: None)  # as on an idle machine
    for half, says in ((30.0, "which gains"), (10.4, "which does not gain")):
        monkeypatch.setattr(doctor, "_gflops", lambda dtype, half=half: half if dtype == torch.bfloat16 else 10.0)
        (found,) = (one for one in doctor.look_at_compute() if one.what == "arithmetic")
        assert found.value.startswith(f"10 GFLOP/s in fp32, {half:.0f} in bf16") and says in found.value


def test_speed_of_matrix_products_is_measured() -> None:
    assert doctor._gflops(torch.float32, size=64) > 0.01  # no machine that runs this is slower


def test_more_threads_than_cores_are_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_gflops", lambda dtype: 1.0)
    monkeypatch.setattr(doctor, "_quota", lambda: 2.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    (found,) = (one for one in doctor.look_at_compute() if one.what == "threads")
    assert not found.fine and found.mend in ("export OMP_NUM_THREADS=2", "export OMP_NUM_THREADS=1")


def test_on_a_busy_machine_nothing_is_concluded_of_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([100.0, 90.0, 100.0, 400.0, 100.0, 80.0])
    monkeypatch.setattr(doctor, "_gflops", lambda dtype: next(speeds))
    clock = iter([(0, 0), (60, 40)])
    monkeypatch.setattr("wmplan.machine._run_and_waited", lambda: next(clock))
    finding = doctor.look_at_arithmetic()
    assert "gain" not in finding.value and "40 %" in finding.value and not finding.fine and not finding.needed
    speeds = iter([100.0, 90.0, 100.0, 400.0, 100.0, 80.0])
    clock = iter([(0, 0), (95, 5)])
    finding = doctor.look_at_arithmetic()
    assert finding.value == "100 GFLOP/s in fp32, 400 in bf16, which gains here" and finding.fine


@pytest.mark.parametrize(("version", "said"), [("4.0.0", True), ("4.0.1", False), ("3.17.0", False)])
def test_the_mujoco_with_wrong_sparse_jacobians_is_named(
    monkeypatch: pytest.MonkeyPatch, version: str, said: bool
) -> None:
    original = importlib.metadata.version
    monkeypatch.setattr(
        doctor.importlib.metadata, "version", lambda name: version if name == "mujoco" else original(name)
    )
    found = [str(one) for one in doctor.look_at_solver()]
    assert len(found) == said
    if said:
        requirement = Requirement(found[0].partition("fix: pip install ")[2].strip('"'))
        assert "4.0.0" not in requirement.specifier and "4.0.1" in requirement.specifier
