"""The device to compute on, from its name."""

from __future__ import annotations

import torch

from wmplan.errors import UserError
from wmplan.machine import free_memory


def find_device(name: torch.device | str | None = None) -> torch.device:
    """The device of that name, tried; auto, or None, is CUDA where there is any, else the processor.

    Raises:
        UserError: if there is no such device, or this machine and this torch cannot compute on it.
    """
    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UserError(f"device must be auto, cpu, cuda, cuda:1, ... or mps, got {name!r}") from None
    try:
        float(torch.ones(1, device=device).sum())
    except Exception as error:  # each backend has its own way to say that it is not there
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"device {str(device)!r} cannot be used here (torch {torch.__version__}: {reason}); give device=cpu"
        ) from error
    return device


def is_read_at_once(tensor: torch.Tensor) -> bool:
    """Whether its numbers are at hand: those on a GPU are waited for, until all is done that was asked of it before."""
    return tensor.device.type == "cpu"


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the processor's on a device; to a GPU through page-locked memory, which nothing waits for."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU still does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_bytes(device: torch.device) -> int:
    """Memory of the device that this process may still take, in bytes."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
