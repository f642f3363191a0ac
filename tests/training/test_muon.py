import copy

import pytest
import torch
from torch import nn

from wmplan.training.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 30), (40, 12), (16, 16)])
def test_orthogonalise_keeps_the_singular_vectors_and_evens_out_the_values(shape):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.double)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    matrix = u @ torch.diag(torch.linspace(1, 0.05, len(vt), dtype=torch.double)) @ vt
    found = u.T @ orthogonalise(matrix) @ vt.T
    values = found.diagonal()
    assert values.min() > 0.6 and values.max() < 1.25
    torch.testing.assert_close(found - values.diag(), torch.zeros_like(found), atol=1e-9, rtol=0)


def test_vectors_lines_and_large_matrices_take_the_steps_of_adamw():
    generator = torch.Generator().manual_seed(0)
    shapes = [(5,), (7, 1), (6, 6)]
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    a = Muon(ours, lr=0.01, weight_decay=0.1, largest=5)
    b = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1)
    for _ in range(20):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q)


def test_a_step_of_a_matrix_is_as_large_as_one_of_adam():
    weight = nn.Parameter(torch.zeros(16, 64))
    optimizer = Muon([weight], lr=0.01)
    weight.grad = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)) * 1e-4
    optimizer.step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.25)


def test_it_learns_the_rare_direction_of_a_regression_sooner_than_adamw():
    """Inputs with one direction a hundred times weaker: the weight that reads it has to be learned all the same."""

    def error(make) -> float:
        generator = torch.Generator().manual_seed(0)
        scale = torch.tensor([1.0] * 7 + [0.01])
        turn = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
        wanted = torch.randn(8, 8, generator=generator)
        weight = nn.Parameter(torch.zeros(8, 8))
        optimizer = make([weight])
        for _ in range(300):
            x = (torch.randn(64, 8, generator=generator) * scale) @ turn
            loss = ((x @ weight - x @ wanted) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (turn[-1] @ (weight - wanted)).norm().item()

    assert error(lambda p: Muon(p, lr=0.05)) < 0.7 * error(lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0))


def test_its_state_goes_through_a_file(tmp_path):
    """A run that goes on from a save ends where one that was never stopped ends."""

    def steps(optimizer, layer, seeds):
        for seed in seeds:
            x = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    layer = nn.Linear(6, 6)
    through, whole = copy.deepcopy(layer), copy.deepcopy(layer)
    first = Muon(through.parameters(), lr=0.01)
    steps(first, through, range(5))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Muon(through.parameters(), lr=0.5)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    steps(second, through, range(5, 10))
    steps(Muon(whole.parameters(), lr=0.01), whole, range(10))
    assert torch.equal(through.weight, whole.weight) and torch.equal(through.bias, whole.bias)
