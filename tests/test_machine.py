"""How long this process waited for a core, as the kernel counts it."""

import pytest

from wmplan import machine
from wmplan.machine import CoreWait


@pytest.mark.parametrize(
    ("readings", "share"),
    [([(0, 0), (75, 25)], 0.25), ([(50, 900), (150, 900)], 0.0), ([(5, 5), (5, 5)], 0.0), ([None, (1, 1)], None)],
)
def test_the_share_is_of_what_came_since(
    monkeypatch: pytest.MonkeyPatch, readings: list[tuple[int, int] | None], share: float | None
) -> None:
    monkeypatch.setattr(machine, "_run_and_waited", iter(readings).__next__)
    assert CoreWait().share() == share


def test_an_idle_machine_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_run_and_waited", iter([(0, 0), (90, 10)]).__next__)
    assert CoreWait().warning() is None


def test_a_real_reading_is_a_share() -> None:
    wait = CoreWait()
    sum(range(10**6))
    share = wait.share()
    assert share is None or 0 <= share <= 1
