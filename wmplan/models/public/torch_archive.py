"""Reads the tensors of a file that torch.save wrote, running nothing of what is pickled in it.

torch.load(weights_only=True) refuses files that hold whole modules, as DINO-WM's do. This reader goes through them
with an unpickler that imports nothing: a class or function that the pickle names becomes an inert stand-in, which only
remembers the state it is given; a handful of names that rebuild tensors get functions of ours. Nothing of a tensor is
read before it is asked for, so a file's optimiser costs no memory.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wmplan.models.checkpoint import CheckpointError

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORAGES.values()}


class Inert:
    """Stands for an object of a class that is not imported. It holds what the pickle gives it and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class PlainDict(dict[Any, Any]):
    """Stands for an OrderedDict; what a pickle adds to it as attributes (a state dict's metadata) is dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


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


class TensorUnpickler(pickle.Unpickler):
    """Turns a pickle into dicts, lists, numbers, StoredTensors and Inert objects."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in the pickle; nothing is ever imported."""
        if (module, name) == ("collections", "OrderedDict"):
            return PlainDict
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return set
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch._utils" and name in REBUILD:
            return REBUILD[name]
        return type(name, (Inert,), {"__module__": f"foreign.{module}"})

    def persistent_load(self, pid: Any) -> Any:
        """A storage, as torch.save refers to it: ("storage", type, key, device, count)."""
        if not (isinstance(pid, tuple) and len(pid) >= 3 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            raise CheckpointError("it refers to data in a way that torch.save does not")
        return Storage(str(pid[2]), pid[1])


def rebuild_v2(storage: Storage, offset: int, shape: Any, stride: Any, *rest: Any) -> StoredTensor:
    return StoredTensor(storage, storage.dtype, int(offset), tuple(shape), tuple(stride))


def rebuild_v3(
    storage: Storage, offset: int, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: torch.dtype, *rest: Any
) -> StoredTensor:
    return StoredTensor(storage, dtype, int(offset), tuple(shape), tuple(stride))


def rebuild_parameter(data: Any, *rest: Any) -> Any:
    return data


REBUILD: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": rebuild_v2,
    "_rebuild_tensor_v2": rebuild_v2,
    "_rebuild_tensor_v3": rebuild_v3,
    "_rebuild_parameter": rebuild_parameter,
    "_rebuild_parameter_with_state": rebuild_parameter,
}


class TorchArchive:
    """An open file of torch.save, in the zip form that it has had since version 1.6.

    Attributes:
        content: what was saved, see TensorUnpickler.

    Raises:
        CheckpointError: when the file is truncated or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            with path.open("rb") as file:
                cut = file.read(2) == b"PK"
            wrong = "is truncated: copy it again" if cut else "is no file that torch.save wrote (since torch 1.6)"
            raise CheckpointError(f"{path} {wrong}") from error
        pickles = [name for name in self._zip.namelist() if name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1 or any(i.compress_type != zipfile.ZIP_STORED for i in self._zip.infolist()):
            raise CheckpointError(f"{path} is a zip archive, but none that torch.save wrote")
        self._root = pickles[0].removesuffix("data.pkl")
        order = f"{self._root}byteorder"
        if order in self._zip.namelist() and self._zip.read(order) != b"little":
            raise CheckpointError(f"{path} was written on a big-endian machine, which is not supported")
        try:
            with self._zip.open(pickles[0]) as file:
                self.content = TensorUnpickler(file, encoding="utf-8").load()
        except CheckpointError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        except Exception as error:  # a pickle can fail in any way, and none of them is ours
            raise CheckpointError(f"{path} holds a broken or unknown pickle: {error}") from error

    def read(self, tensor: StoredTensor) -> Tensor:
        """The tensor itself.

        Raises:
            CheckpointError: when its data are missing, cut or too short for it.
        """
        try:
            data = bytearray(self._zip.read(f"{self._root}data/{tensor.storage.key}"))
        except (KeyError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise CheckpointError(f"{self.path} is damaged, a tensor cannot be read: {error}") from error
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
        if prod(tensor.shape) == 0:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        if min(tensor.offset, *tensor.stride, 0) < 0 or (last + 1) * tensor.dtype.itemsize > len(data):
            raise CheckpointError(f"{self.path} is damaged, a tensor reaches beyond its data")
        flat = torch.frombuffer(data, dtype=tensor.dtype)
        return flat.as_strided(tensor.shape, tensor.stride, tensor.offset).clone()


def stored_tensors(value: Any, prefix: str = "") -> Iterator[tuple[str, StoredTensor]]:
    """The tensors in nested dicts and pickled modules by dotted names; of a module those of its state dict."""
    if isinstance(value, StoredTensor):
        yield prefix, value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if isinstance(name, str):
                yield from stored_tensors(part, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, Inert) and isinstance(value.state, Mapping) and "_parameters" in value.state:
        hidden = value.state.get("_non_persistent_buffers_set")
        skipped = hidden if isinstance(hidden, set) else set()
        for kind in ("_parameters", "_buffers", "_modules"):
            parts = value.state.get(kind)
            if isinstance(parts, Mapping):
                yield from stored_tensors({n: p for n, p in parts.items() if n not in skipped}, prefix)
