"""What a server may be told, where its token comes from, and the pace that its clients are held to."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from wmplan.errors import UserError
from wmplan.serving import Bounds, ServerConfig
from wmplan.serving.config import is_loopback
from wmplan.serving.rate_limit import BURST_SECONDS, Throttle
from wmplan.serving.token import read_token

TOKEN = "a-token-of-the-tests"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "robot.local", "127.0.0.1.nip.io", ""])
def test_other_machines_are_not_served_without_a_token(host: str) -> None:
    with pytest.raises(UserError, match="WMPLAN_TOKEN"):
        ServerConfig(host=host)
    assert ServerConfig(host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert is_loopback(host) and ServerConfig(host=host).token is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"port": 70000}, "port must be from 0 to 65535, got 70000"),
        ({"token": "short"}, "at least 16"),
        ({"token": "with a space in it"}, "without a space"),
        ({"token": "with\na\nnewline\nin\nit"}, "without a space"),
        ({"token": "schlüssel-schlüssel"}, "ASCII"),
        ({"key": Path("server.key")}, "without certificate"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        ServerConfig(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_sessions": 0},
        {"max_message_bytes": 0},
        {"max_rate": 0.0},
        {"idle_seconds": float("inf")},
        {"slow_seconds": -1.0},
        {"gather_ms": float("nan")},
        {"drain_seconds": -1.0},
        {"max_batch": 0},
    ],
)
def test_wrong_bounds_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"bounds.{next(iter(options))} must be"):
        Bounds(**options)


def test_the_token_is_not_shown_when_the_config_is_printed() -> None:
    assert TOKEN not in repr(ServerConfig(token=TOKEN))


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="certificate: there is no file"):
        ServerConfig(certificate=tmp_path / "none.pem").tls()
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(UserError, match="no.pem"):
        ServerConfig(certificate=tmp_path / "no.pem").tls()
    assert ServerConfig().tls() is None


def test_the_token_comes_from_its_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WMPLAN_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("WMPLAN_TOKEN", "from-the-environment")
    assert read_token(None) == "from-the-environment"
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_token(file)
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    file.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_token(file)
    with pytest.raises(FileNotFoundError):
        read_token(tmp_path / "none")


@pytest.mark.parametrize("rate", [5.0, 50.0])
def test_the_pace_is_kept_whatever_comes(rate: float) -> None:
    """In no stretch of time are there more messages than its length allows, and one burst."""
    rng, throttle, now, taken = random.Random(0), Throttle(rate), 0.0, []
    for _ in range(2000):
        taken.append(now)
        now += throttle.wait(now)
        now += rng.choice([0.0, 0.0, 0.0, 0.001, 0.3 / rate, 3 / rate])
    for first in range(0, len(taken), 7):
        for last in range(first + 1, min(first + 200, len(taken))):
            assert last - first <= rate * (taken[last] - taken[first] + BURST_SECONDS) + 1 + 1e-9


def test_who_keeps_to_the_pace_never_waits() -> None:
    throttle = Throttle(10.0)
    assert all(throttle.wait(step / 10) == 0 for step in range(100))
