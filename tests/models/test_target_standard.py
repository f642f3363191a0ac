"""Running figures against those of all batches at once."""

import torch

from wmplan.models.target_standard import TargetStandard


def test_tokens_are_standardised_by_place_and_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    places = 5 * torch.randn(6, 4, generator=generator)
    scale = torch.tensor([0.1, 1.0, 3.0, 10.0])
    batches = [places + scale * torch.randn(64, 6, 4, generator=generator) for _ in range(50)]
    standard = TargetStandard(6, 4)
    first = standard(batches[0])
    torch.testing.assert_close(first.mean(0), torch.zeros(6, 4), rtol=0, atol=1e-4)
    torch.testing.assert_close(first.square().mean((0, 1)), torch.ones(4))
    for batch in batches[1:]:
        standard(batch)
    every = torch.cat(batches)
    standard.eval()
    torch.testing.assert_close(standard.mean, every.mean(0), rtol=1e-4, atol=1e-4)
    found = standard(every)
    assert found.mean((0,)).abs().max() < 1e-3 and (found.std((0, 1)) - 1).abs().max() < 0.05
    torch.testing.assert_close(standard(every[:, :2]), found[:, :2])


def test_a_place_that_is_rarely_there_is_measured_by_its_own_batches() -> None:
    standard = TargetStandard(2, 3)
    for _ in range(40):
        standard(torch.zeros(8, 1, 3))
    standard(torch.full((8, 2, 3), 7.0))
    assert standard.mean[1].eq(7).all() and standard.batches.tolist() == [41, 1]


def test_features_that_shrink_are_told_apart_as_before() -> None:
    tokens = torch.randn(256, 6, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for size in (1.0, 0.01):
        found.append(TargetStandard(6, 4)(size * tokens + 3))
    torch.testing.assert_close(*found, rtol=0, atol=0.02)
