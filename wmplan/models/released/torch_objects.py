"""What stands for the objects in a pickle of torch.save: nothing that the pickle names is ever imported or called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wmplan.models.errors import CheckpointError

if TYPE_CHECKING:
    import torch

MOST_AXES = 64
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that the pickle names."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Foreign:
    """Stands for an object of any class. It holds the state that the pickle gives it and does nothing."""

    state: Any = None


@dataclass(frozen=True)
class Storage:
    """A member of the archive and the type of its numbers."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the archive; numbers of `storage`, counted in `dtype`."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def require_layout(tensor: StoredTensor) -> None:
    """Raise a CheckpointError unless offset, shape and stride are whole numbers that torch can count with."""
    whole = all(
        isinstance(part, tuple)
        and len(part) <= MOST_AXES
        and all(type(number) is int and 0 <= number < 2**62 for number in part)
        for part in (tensor.shape, tensor.stride, (tensor.offset,))
    )
    if not whole or len(tensor.shape) != len(tensor.stride):
        raise CheckpointError("a tensor's shape, stride and offset must be whole numbers from 0 on, one for each axis")


def call(function: Name | Foreign, arguments: tuple[Any, ...]) -> Any:
    """What stands for the result of calling `function`, or for a new object of that class.

    Raises:
        CheckpointError: where a function that rebuilds tensors gets something else than torch.save gives it.
    """
    known = FUNCTIONS.get((function.module, function.name)) if isinstance(function, Name) else None
    if known is None:
        return Foreign()
    try:
        return known(*arguments)
    except TypeError as error:
        raise CheckpointError(f"its pickle calls {function} with arguments that torch.save does not write") from error


def dtype_of(name: str) -> torch.dtype:
    """torch's type of that name; torch is loaded for the first tensor, not for a file that is refused before."""
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


# ------------------------------------------------------------------ what the functions that torch.save names stand for


def refer(reference: Any) -> Storage | Foreign:
    """A storage, as torch.save refers to it: ("storage", type, key, device, count). Foreign where its type is."""
    match reference:
        case ("storage", Name() as kind, str() | int() as key, *_):
            known = STORAGES.get(kind.name) if kind.module in ("torch", "torch.storage") else None
            return Foreign() if known is None else Storage(str(key), dtype_of(known))
    raise CheckpointError("its pickle refers to data in a way that torch.save does not")


def tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any = None, hooks: Any = None, metadata: Any = None
) -> StoredTensor | Foreign:
    """_rebuild_tensor_v2(); Foreign where the metadata say that the numbers' sign is not as it is stored."""
    if isinstance(storage, Foreign) or metadata:
        return Foreign()
    if not isinstance(storage, Storage):
        raise CheckpointError("its pickle makes a tensor of no storage")
    made = StoredTensor(storage, storage.dtype, offset, shape, stride)
    require_layout(made)
    return made


def typed_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> StoredTensor | Foreign:
    """_rebuild_tensor_v3(): of an untyped storage."""
    known = isinstance(dtype, Name) and dtype.module == "torch" and dtype.name in STORAGES.values()
    if not known or not isinstance(storage, Storage):
        return Foreign()
    return tensor(Storage(storage.key, dtype_of(dtype.name)), offset, shape, stride, metadata=metadata)


def with_attributes(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """_rebuild_from_type_v2(): the tensor, without the attributes that somebody set on it."""
    known = isinstance(function, Name) and function.module == "torch._utils" and isinstance(arguments, tuple)
    return call(function, arguments) if known else Foreign()


def texts(items: Any = ()) -> set[str]:
    """The texts of a set, all that is asked of one."""
    if not isinstance(items, list | tuple | set):
        raise CheckpointError("its pickle makes a set of no list")
    return {item for item in items if isinstance(item, str)}


def size(sizes: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple):
        raise CheckpointError("its pickle makes a shape of no tuple")
    return sizes


FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): lambda *_: {},
    ("collections", "defaultdict"): lambda *_: {},
    ("builtins", "set"): texts,
    ("builtins", "frozenset"): texts,
    ("__builtin__", "set"): texts,
    ("__builtin__", "frozenset"): texts,
    ("torch", "Size"): size,
    ("torch._utils", "_rebuild_tensor"): tensor,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_tensor_v3"): typed_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("torch._tensor", "_rebuild_from_type_v2"): with_attributes,
}
