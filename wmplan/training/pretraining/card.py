"""What people and programs should know of a pretrained encoder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wmplan.data.reader import Reader
from wmplan.training.export import commit
from wmplan.training.pretraining.config import PretrainConfig


def card(
    config: PretrainConfig, store: Reader, untrained: Mapping[str, Any], figures: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """The card of a finished run.

    Args:
        untrained, figures: the measures of health before the first step and after the last.
        seconds: that training took.
    """
    told = {name: value for name, value in asdict(config).items() if name not in ("data", "out")}
    return {
        "name": config.name,
        "objective": config.objective,
        "task": store.meta.task,
        "data": {"episodes": len(store), "rows": store.num_rows, "seed": store.meta.seed, "policy": store.meta.policy},
        "seed": config.seed,
        "commit": commit(),
        "command": shlex.join(["wmplan", *sys.argv[1:]]),
        "training": {**told, "recipe": asdict(config.recipe)},
        "seconds": {"pretrain": round(seconds, 1)},
        "figures": {
            **figures,
            "untrained": {key: untrained[key] for key in ("effective_rank", "spread", "probe") if key in untrained},
        },
    }
