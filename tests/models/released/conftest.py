"""The parity fixtures: small random weights in released layouts, with what the reference implementations computed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

FIXTURES = Path(__file__).parents[2] / "fixtures"


@dataclass
class Parity:
    name: str
    weights: dict[str, Tensor]
    io: dict[str, Tensor]
    architecture: dict[str, Any]

    def worst(self, ours: Tensor, key: str) -> float:
        """Largest absolute difference to the reference's output, which has to have the same shape."""
        assert tuple(ours.shape) == tuple(self.io[key].shape), (ours.shape, self.io[key].shape)
        return (ours - self.io[key]).abs().max().item()


@pytest.fixture(scope="session")
def parity():
    """parity(name) reads one fixture."""

    def read(name: str) -> Parity:
        folder = FIXTURES / name
        config = json.loads((folder / "config.json").read_text())
        files = (load_file(folder / f"{part}.safetensors") for part in ("weights", "io"))
        return Parity(name, *files, config["architecture"])

    return read


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES
