"""A device is one that can be computed on, or one line says that it is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wmplan
from wmplan.device import find_device, upload
from wmplan.errors import UserError


def test_a_device_that_is_there_is_taken_by_name_or_as_it_is() -> None:
    for given in ("cpu", torch.device("cpu"), "cpu:0"):
        assert find_device(given).type == "cpu"
    assert find_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:x", "CUDA", "cuda:-1", "nul", 1.5])
def test_what_is_no_device_is_named(name: Any) -> None:
    with pytest.raises(UserError, match="device must be auto, cpu, cuda, cuda:1, ... or mps, got "):
        find_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "xpu", "mps", "meta", "vulkan", "hpu"])
def test_what_is_not_there_is_named_in_one_line(name: str) -> None:
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    with pytest.raises(UserError, match=rf"^device '{name}(:0)?' cannot be used here .*; give device=cpu$"):
        find_device(name)


def test_a_model_is_not_loaded_for_a_device_that_is_not_there() -> None:
    with pytest.raises(UserError, match="device must be auto, cpu, cuda, cuda:1, ... or mps, got "):
        wmplan.load("pusht", device="gpu")


class OnProcessor:
    """Stands for a tensor, and writes down what is asked of it."""

    def __init__(self) -> None:
        self.device, self.asked = torch.device("cpu"), []  # type: ignore[var-annotated]

    def pin_memory(self) -> OnProcessor:
        self.asked.append("pinned")
        return self

    def to(self, device: torch.device, non_blocking: bool = False) -> OnProcessor:
        self.asked.append((device.type, non_blocking))
        return self


@pytest.mark.parametrize(
    ("device", "asked"), [("cuda:1", ["pinned", ("cuda", True)]), ("cpu", [("cpu", False)]), ("mps", [("mps", False)])]
)
def test_what_goes_to_a_gpu_goes_through_pinned_memory(device: str, asked: list[Any]) -> None:
    """There is none here: a stand-in is asked."""
    tensor: Any = OnProcessor()
    upload(tensor, torch.device(device))
    assert tensor.asked == asked
