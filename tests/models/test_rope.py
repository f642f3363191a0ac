"""Turned queries and keys: what attention sees of places."""

import torch

from wmplan.models.rope import Rotation, grid_positions


def test_only_the_distance_between_two_places_counts() -> None:
    """Along every axis, as Su et al. 2021 derive; lengths stay what they are."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 5, 64, generator=generator, dtype=torch.float64)
    places = torch.randint(0, 9, (2, 5, 3), generator=generator)
    seen = []
    for shift in ([0, 0, 0], [4, 0, 0], [1, 7, 2]):
        turned = [
            Rotation(at + torch.tensor(shift), 64, released=False)(vector)
            for at, vector in zip(places, (query, key), strict=True)
        ]
        seen.append(turned[0] @ turned[1].mT)
        torch.testing.assert_close(turned[0].norm(dim=-1), query.norm(dim=-1), rtol=1e-6, atol=1e-6)
    for other in seen[1:]:
        torch.testing.assert_close(other, seen[0], rtol=1e-4, atol=1e-4)


def test_sequences_may_have_places_of_their_own() -> None:
    positions = grid_positions(range(2), 2, 3)
    chosen = torch.tensor([[0, 5, 7], [2, 3, 11]])
    vectors = torch.randn(2, 4, 3, 20, generator=torch.Generator().manual_seed(0))
    together = Rotation(positions[chosen], 20, released=False)(vectors)
    for row in range(2):
        alone = Rotation(positions[chosen[row]], 20, released=False)(vectors[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone)
