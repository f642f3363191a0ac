"""Symmetric copies: an exact symmetry is told from one that is not, and batches hold equal parts."""

import pytest
import torch

from wmplan.data.symmetry import Symmetry
from wmplan.training.symmetric import SymmetricWindows, SymmetryTest


def windows(count: int, seed: int) -> dict[str, torch.Tensor]:
    """A point that actions move within a square with walls; its latents are x, y, sin 2x and y^2."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 2, generator=generator) * 2 - 1
    actions = (torch.rand(count, 2, 2, generator=generator) * 2 - 1) * 0.5
    places = [place]
    for step in range(2):
        places.append((places[-1] + actions[:, step]).clamp(-1, 1))
    return {"place": torch.stack(places, 1), "action": actions}


def encoded(places: torch.Tensor, actions: torch.Tensor) -> dict[str, torch.Tensor]:
    x, y = places.unbind(-1)
    return {"latent": torch.stack([x, y, (2 * x).sin(), y * y], -1), "action": actions}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("frames", "action", "holds"),  # signs of x and y in the picture, and of the action
    [
        ((-1, 1), (-1, 1), True),
        ((-1, -1), (-1, -1), True),
        ((-1, 1), (1, 1), False),
        ((1, 1), (1, -1), False),
        ((1, 1), (0.7, 1), False),
    ],
)
def test_an_exact_symmetry_is_told_from_others(frames, action, holds) -> None:
    train, held = windows(4096, 0), windows(1024, 1)
    torch.manual_seed(0)
    test = SymmetryTest(encoded(train["place"], train["action"]), encoded(held["place"], held["action"]), steps=400)
    copies = encoded(held["place"] * torch.tensor(frames), held["action"] * torch.tensor(action))
    assert (test.excess(copies) < 0.1) == holds


class Counting:
    """Batches of consecutive numbers."""

    def __init__(self, first: int) -> None:
        self.at = first

    def __iter__(self):
        while True:
            self.at += 1
            yield {"latent": torch.full((2, 1), float(self.at)), "action": torch.full((2, 1, 1), float(self.at))}

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state) -> None:
        self.at = state["at"]


def test_batches_hold_the_data_and_its_copies_and_go_on_where_they_stood() -> None:
    def make() -> SymmetricWindows:
        return SymmetricWindows([Counting(0), Counting(100)], [Symmetry("same", ((-1.0,),))])

    batches = make()
    stream = iter(batches)
    next(stream)
    batch = next(stream)
    assert batch["latent"].flatten().tolist() == [2, 2, 102, 102]
    assert batch["action"].flatten().tolist() == [2, 2, -102, -102]
    again = make()
    again.load_state_dict(batches.state_dict())
    for one, other in zip(next(stream).values(), next(iter(again)).values(), strict=True):
        assert torch.equal(one, other)
