"""A device is one that can be computed on, or one line says that it is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import wmplan
from wmplan.device import find_device
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
