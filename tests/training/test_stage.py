import pytest
import torch
from torch import nn

from wmplan.training.stage import Stage


class Same:
    """An endless stream of one batch."""

    def __iter__(self):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
        while True:
            yield {"x": x}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_one_part_may_take_the_steps_of_adamw_beside_muon(tmp_path):
    """Adam's first step has the size of the learning rate in every weight; Muon's has not."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    before = [layer.weight.detach().clone() for layer in (net[0], net[2])]
    stage = Stage(
        "both",
        net,
        lambda batch, generator: (net(batch["x"]).square().mean(), {}),
        Same(),
        steps=1,
        learning_rate=0.01,
        weight_decay=0.0,
        optimizer="muon",
        adamw_part=net[2],
        seed=0,
        folder=tmp_path,
    )
    stage.run()
    moved = [(layer.weight.detach() - old).abs() for layer, old in zip((net[0], net[2]), before, strict=True)]
    assert moved[0].max() > 2 * moved[0].min()
    assert moved[1].numpy() == pytest.approx(0.01, rel=1e-3)
