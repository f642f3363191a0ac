"""Loading tensors into a model of ours with nothing missing, nothing left over and no silent reshaping."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from wmplan.models.checkpoint import require_finite, require_fit


def load_strict(
    model: nn.Module, tensors: Mapping[str, Tensor], family: str, ignored: Callable[[str], bool] = lambda name: False
) -> None:
    """Copy `tensors` into `model`, or change nothing and say how they differ.

    Args:
        model: built at the size that the checkpoint states.
        tensors: by the names of the model's state dict.
        family: what the checkpoint is taken for, named in the error.
        ignored: names to leave aside, because the release holds them and nothing uses them.

    Raises:
        CheckpointError: at names that are missing, left over or of another shape, or at numbers that are not finite.
    """
    given = {name: tensor for name, tensor in tensors.items() if not ignored(name)}
    require_fit(given, model.state_dict(), f"the {family} checkpoint")
    require_finite(given, f"the {family} checkpoint")
    model.load_state_dict(given, strict=True)
