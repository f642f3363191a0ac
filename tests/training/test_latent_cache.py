"""Latents are computed once, survive a stop, and are refused when they are damaged or of another encoder."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from wmplan.errors import UserError
from wmplan.interruption import Interrupted
from wmplan.training import latent_cache
from wmplan.training.latent_cache import cached_latents

LENGTHS = np.array([4, 1, 7, 3, 5])


class Store:
    lengths, num_rows = LENGTHS, int(LENGTHS.sum())

    def __len__(self) -> int:
        return len(LENGTHS)


class Encoder:
    """Latents that can be told apart, and a count of the episodes that were encoded; a signal at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.seen: list[int] = []
        self.stop_at = stop_at

    def __call__(self, index: int) -> np.ndarray:
        self.seen.append(index)
        if index == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return np.random.default_rng(index).normal(size=(LENGTHS[index], 2)).astype(np.float32)


def cache(folder: Path, encode: Encoder, encoder: str = "a") -> np.ndarray:
    return cached_latents(folder / "latents.npy", {"encoder": encoder}, Store(), (2,), encode)


WHOLE = np.concatenate([Encoder()(index) for index in range(5)])


def test_latents_are_computed_once(tmp_path: Path) -> None:
    np.testing.assert_array_equal(cache(tmp_path, Encoder()), WHOLE)
    second = Encoder()
    np.testing.assert_array_equal(cache(tmp_path, second), WHOLE)
    assert second.seen == [] and [path.name for path in tmp_path.iterdir()] == ["latents.npy"]


@pytest.mark.parametrize("stop_at", range(5))
def test_a_stop_keeps_what_is_done(tmp_path: Path, stop_at: int) -> None:
    with pytest.raises(Interrupted, match=f"latents of {stop_at + 1} of 5 episodes are saved"):
        cache(tmp_path, Encoder(stop_at))
    second = Encoder()
    np.testing.assert_array_equal(cache(tmp_path, second), WHOLE)
    assert second.seen == list(range(stop_at + 1, 5))
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npy"]


def test_a_kill_loses_no_part_that_was_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_cache, "SAVE_SECONDS", 0.0)

    class Killed(Exception):
        pass

    class Fails(Encoder):
        def __call__(self, index: int) -> np.ndarray:
            if index == 3:
                raise Killed
            return super().__call__(index)

    with pytest.raises(Killed):
        cache(tmp_path, Fails())
    second = Encoder()
    np.testing.assert_array_equal(cache(tmp_path, second), WHOLE)
    assert second.seen == [3, 4]


def test_damage_and_another_encoder_are_refused(tmp_path: Path) -> None:
    cache(tmp_path, Encoder())
    path = tmp_path / "latents.npy"
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(0, len(content), 40):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(UserError, match=r"latents.npy is damaged.*: delete it, and it is made again"):
            cache(tmp_path, Encoder())
    path.write_bytes(content)
    with pytest.raises(UserError, match="latents.npy was made with encoder='a', this run has 'b': delete it"):
        cache(tmp_path, Encoder(), "b")


def test_parts_of_another_encoder_or_damaged_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        cache(tmp_path, Encoder(2))
    with pytest.raises(UserError, match=r"latents.part-0+.npy was made with encoder='a'"):
        cache(tmp_path, Encoder(), "b")
    (part,) = tmp_path.iterdir()
    part.write_bytes(part.read_bytes()[:-30] + b"x" * 30)
    with pytest.raises(UserError, match="is damaged"):
        cache(tmp_path, Encoder())
