"""Models built only where they fit the tensors of their file, and the machine.

The sizes in a configuration may be anything; those of a file's tensors are bounded by the file. So what a model is
built of is counted before it is made, and must not be much more than its file holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from wmplan.errors import UserError
from wmplan.machine import free_memory
from wmplan.models.errors import CheckpointError, shorten

M = TypeVar("M", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]

OPERATIONS, OPERATIONS_PER_TENSOR = 20_000, 100
"""That building a model may take; a layer takes about ten."""
ELEMENTS, ELEMENTS_PER_ELEMENT = 2**25, 4
"""That tensors of a model may have while it is built, beside those of the file and times those of the file."""
TRAINING_BYTES = 16
"""Of memory for each weight: itself, its gradient, and the two moments of Adam."""
FILLED = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)
"""Functions that make a tensor of the shape that they are given."""


class TooLarge(Exception):
    """A model under construction is larger than what there is room for."""


class Budget(TorchFunctionMode):
    """Counts operations and the elements of new tensors, and ends what takes too many.

    Args:
        operations, elements: how many there may be.
        room: what that is all that it has room for, for errors.
    """

    def __init__(self, operations: int, elements: int, room: str) -> None:
        super().__init__()
        self.operations, self.elements, self.room = operations, elements, room

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations -= 1
        if self.operations < 0:
            raise TooLarge(f"it would have too many layers for {self.room}")
        shape = new_shape(function, args)
        self.elements -= math.prod(shape)
        if self.elements < 0:
            raise TooLarge(f"with a tensor of shape {shape} it would be too large for {self.room}")
        return function(*args, **(kwargs or {}))


def new_shape(function: Any, args: Any) -> tuple[int, ...]:
    """The shape of the tensor that a function of torch makes from nothing, or much larger than what it is given."""
    if function in FILLED or function is torch.full:
        sizes = args[0] if args and not isinstance(args[0], int) else args
        return tuple(size for size in sizes if isinstance(size, int))
    if function is torch.eye:
        return args[0], args[0] if len(args) < 2 else args[1]
    if function is torch.arange:
        return (math.ceil(max(args[:2])),)
    if function is torch.linspace:
        return (args[2],)
    if function is Tensor.repeat:
        times = args[1] if len(args) == 2 and not isinstance(args[1], int) else args[1:]
        return args[0].numel(), *times
    return (0,)


def build_to_fit(build: Callable[[], M], shapes: Shapes, source: str) -> M:
    """What `build` makes, where it takes the tensors of its file and this machine holds it.

    Args:
        build: makes the untrained model that a configuration describes.
        shapes: of the file's tensors, by their names.
        source: the file, for errors.

    Raises:
        CheckpointError: where it does not fit.
        ValueError: what `build` says of the configuration.
    """
    model = build_within(build, shapes, source)
    require_fit(shapes, shapes_of(model.state_dict()), source)
    return model


def build_within(build: Callable[[], M], shapes: Shapes, source: str) -> M:
    """What `build` makes, where it is not much larger than its file; see build_to_fit()."""
    elements = sum(map(math.prod, shapes.values()))
    needed = 4 * elements
    if needed > ELEMENTS and needed > (free := free_memory()):
        raise CheckpointError(
            f"the model in {source} takes {needed / 2**30:.1f} GiB, this machine has {free / 2**30:.1f} GiB free"
        )
    operations = OPERATIONS + OPERATIONS_PER_TENSOR * len(shapes)
    try:
        with Budget(operations, ELEMENTS + ELEMENTS_PER_ELEMENT * elements, "the tensors of that file"):
            return build()
    except (TooLarge, RuntimeError, TypeError, ArithmeticError, MemoryError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise CheckpointError(f"no model can be built from the sizes that {source} states: {reason}") from error


def build_to_train(build: Callable[[], M]) -> M:
    """What `build` makes, where this machine has room for training it.

    Raises:
        UserError: where it has not.
        ValueError: what `build` says of the settings.
    """
    free = free_memory()
    try:
        with Budget(100 * OPERATIONS, free // TRAINING_BYTES, f"the {free / 2**30:.1f} GiB that are free here"):
            return build()
    except (TooLarge, MemoryError) as error:
        raise UserError(f"no model of these settings can be trained: {error}") from error


def require_fit(given: Shapes, wanted: Shapes, source: str) -> None:
    """Raise a CheckpointError that says how a file's tensors differ from the model's, a few of each kind."""
    reshaped = [
        f"{name} {given[name]} for {wanted[name]}"
        for name in sorted(given.keys() & wanted.keys())
        if given[name] != wanted[name]
    ]
    kinds = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": reshaped,
    }
    differences = [f"{len(names)} {kind} ({shorten(names)})" for kind, names in kinds.items() if names]
    if differences:
        raise CheckpointError(f"{source} does not fit its configuration, tensors are {'; '.join(differences)}")


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors, by their names."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
