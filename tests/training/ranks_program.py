"""What test_ranks.py has two processes do: a program, begun by torchrun or by hand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wmplan.training.losses import contrastive_prediction, effective_rank, sigreg, variance_covariance
from wmplan.training.ranks import WHOLE, ManyRanks, Ranks, Share

ROWS, FRAMES, DIM = 5, 3, 4
"""An odd number of rows, so that two processes have unlike shares."""


def terms(share: Share, rows: Tensor) -> dict[str, Tensor]:
    """What looks over the batch, of the own rows (n * FRAMES, DIM), as the stages weight it."""
    generator = torch.Generator().manual_seed(3)
    hinge, covariance = variance_covariance(rows, share)
    return {
        "sigreg": sigreg(rows, generator, share=share),
        "variance": hinge,
        "covariance": covariance,
        "contrastive": share.weight * contrastive_prediction(rows.roll(1, -1), rows.square(), share),
        "gather": share.gather(rows).pow(3).sum(),
        "mean": share.mean(rows.exp()).prod(),
    }


def values_and_gradients(ranks: Ranks) -> dict[str, Any]:
    """Of each term over a fixed batch: the mean over the processes, and the own rows' gradient of that mean."""
    batch = 0.3 * torch.randn(ROWS, FRAMES, DIM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    share = ranks.share(ROWS) if ranks.world > 1 else WHOLE
    found: dict[str, Any] = {"rank": effective_rank(share.own(batch).flatten(0, 1), share), "noise": share.randn}
    found["noise"] = share.randn((len(share.own(batch)), 2), torch.Generator().manual_seed(1)).tolist()
    for name in terms(share, share.own(batch).flatten(0, 1)):
        own = share.own(batch).clone().requires_grad_(True)
        value = terms(share, own.flatten(0, 1))[name]
        value.backward()
        assert own.grad is not None
        found[name] = ranks.mean({"value": value.item()})["value"], (own.grad / ranks.world).tolist()
    return found


def regularisers(folder: str) -> None:
    """Write what this process finds."""
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo")
    found = values_and_gradients(ManyRanks(torch.device("cpu"), rank, 2))
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def train(settings: str) -> None:
    """A training run."""
    from wmplan.settings.build import build
    from wmplan.training.config import TrainConfig
    from wmplan.training.train import train as run

    run(build(TrainConfig, json.loads(settings)))


def pretrain(settings: str) -> None:
    """A pretraining run."""
    from wmplan.settings.build import build
    from wmplan.training.pretraining.config import PretrainConfig
    from wmplan.training.pretraining.pretrain import pretrain as run

    run(build(PretrainConfig, json.loads(settings)))


PROGRAMS: dict[str, Callable[[str], None]] = {"regularisers": regularisers, "train": train, "pretrain": pretrain}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2])
