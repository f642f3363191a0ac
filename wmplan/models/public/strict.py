"""Loading tensors into a model of ours with nothing missing, nothing left over and no silent reshaping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from wmplan.models.checkpoint import CheckpointError

SHOWN = 4


def load_strict(model: nn.Module, tensors: Mapping[str, Tensor], family: str, ignore: Callable[[str], bool] | None = None) -> None:
    """Copy `tensors` into `model`, or change nothing and say how they differ.

    Args:
        model: built at the size that the checkpoint states.
        tensors: by the names of the model's state dict.
        family: what the checkpoint is taken for, named in the error.
        ignore: names to leave aside, because the release holds them and nothing uses them.

    Raises:
        CheckpointError: at names that are missing, left over or of another shape, or at numbers that are not finite.
    """
    given = {name: tensor for name, tensor in tensors.items() if ignore is None or not ignore(name)}
    wanted = model.state_dict()
    complaints = []
    if missing := sorted(set(wanted) - set(given)):
        complaints.append(f"{len(missing)} missing ({shorten(missing)})")
    if unexpected := sorted(set(given) - set(wanted)):
        complaints.append(f"{len(unexpected)} unexpected ({shorten(unexpected)})")
    if reshaped := [name for name in sorted(set(given) & set(wanted)) if given[name].shape != wanted[name].shape]:
        differences = [f"{n}: file {tuple(given[n].shape)}, model {tuple(wanted[n].shape)}" for n in reshaped]
        complaints.append(f"{len(reshaped)} of another shape ({shorten(differences)})")
    if complaints:
        raise CheckpointError(f"not a {family} checkpoint of this size: of {len(wanted)} tensors, {'; '.join(complaints)}")
    for name, tensor in given.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"the {family} checkpoint holds numbers that are not finite, in {name}")
    model.load_state_dict(given, strict=True)


def shorten(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
