"""Reads the tensors of a file that torch.save wrote, running nothing of what is pickled in it.

torch.load(weights_only=True) refuses files that hold whole modules, as DINO-WM's do. This reader goes through them, see
torch_pickle. Nothing of a tensor is read before it is asked for, so a file's optimiser costs no memory.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmplan.models.errors import CheckpointError
from wmplan.models.reading import require_regular
from wmplan.models.released.torch_objects import Foreign, Storage, StoredTensor, require_layout
from wmplan.models.released.torch_pickle import MOST_BYTES, read_pickle

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Storage", "StoredTensor", "TorchArchive", "stored_tensors"]

MOST_PARTS = 200_000
"""Tensors, dicts and modules in a checkpoint: one of a thousand tensors with its optimiser has 10,000."""
MOST_LEVELS, MOST_NAME = 100, 500
"""Dicts in each other, and characters of a name."""
FOLLOWED = (StoredTensor, Mapping, Foreign)
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError, struct.error)
"""What the zipfile module says of archives that are cut, damaged or made by hand."""


class TorchArchive:
    """An open file of torch.save, in the zip form that it has had since version 1.6.

    What is read of it is bounded by the size of the file: tensors that share their numbers may come out up to four
    times as large together, and a little beside.

    Attributes:
        content: what was saved, see read_pickle().

    Raises:
        CheckpointError: when the file is truncated or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = require_regular(path)
        self._left = 4 * self._size + 2**24  # bytes of tensors, and of storages read for them
        self._newest: tuple[str, bytearray] = "", bytearray()
        try:
            self._zip = zipfile.ZipFile(path)
        except (*BROKEN, OSError) as error:
            with path.open("rb") as file:
                cut = file.read(2) == b"PK"
            wrong = "is truncated: copy it again" if cut else "is no file that torch.save wrote (since torch 1.6)"
            raise CheckpointError(f"{path} {wrong}") from error
        members = self._zip.infolist()
        names = [member.filename for member in members]
        pickles = [name for name in names if name.split("/")[-1] == "data.pkl"]
        plain = all(m.compress_type == zipfile.ZIP_STORED and not m.flag_bits & 0x1 for m in members)
        if len(pickles) != 1 or len(set(names)) < len(names) or not plain:
            raise CheckpointError(f"{path} is a zip archive, but none that torch.save wrote")
        self._root = pickles[0].removesuffix("data.pkl")
        order = f"{self._root}byteorder"
        if order in names and self._read(order, 16) != b"little":
            raise CheckpointError(f"{path} was written on a big-endian machine, which is not supported")
        content = self._read(pickles[0], MOST_BYTES)
        try:
            self.content = read_pickle(content)
        except CheckpointError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def read(self, tensor: StoredTensor) -> Tensor:
        """The tensor itself.

        Raises:
            CheckpointError: when its data are missing, cut or too short for it, or it makes much of few data.
        """
        import torch

        try:
            require_layout(tensor)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path} is damaged: {error}") from error
        self._spend(prod(max(n, 1) for n in tensor.shape) * tensor.dtype.itemsize)
        if prod(tensor.shape) == 0:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        data = self._storage(tensor.storage.key)
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride, strict=True))
        if (last + 1) * tensor.dtype.itemsize > len(data):
            raise CheckpointError(f"{self.path} is damaged, a tensor reaches beyond its data")
        usable = len(data) - len(data) % tensor.dtype.itemsize
        flat = torch.frombuffer(data, dtype=tensor.dtype, count=usable // tensor.dtype.itemsize)
        return flat.as_strided(tensor.shape, tensor.stride, tensor.offset).clone()

    def _storage(self, key: str) -> bytearray:
        """The numbers of a storage; those of the newest are kept, for the next tensor that shares them."""
        if self._newest[0] != key:
            data = bytearray(self._read(f"{self._root}data/{key}", self._size))
            self._spend(len(data))
            self._newest = key, data
        return self._newest[1]

    def _read(self, name: str, most: int) -> bytes:
        """A member of the archive, whose checksum is right."""
        try:
            member = self._zip.getinfo(name)
            if member.file_size > most or member.header_offset + member.file_size > self._size:
                raise CheckpointError(f"{self.path} is damaged: its part {name} must have at most {most} bytes")
            return self._zip.read(member)
        except CheckpointError:
            raise
        except (*BROKEN, KeyError, OSError) as error:
            raise CheckpointError(f"{self.path} is damaged, its part {name} cannot be read: {error}") from error

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise CheckpointError(f"{self.path} is damaged: its tensors must not be larger than the file")


def stored_tensors(value: Any) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors in nested dicts and pickled modules by dotted names; of a module those of its state dict.

    Raises:
        CheckpointError: where dicts contain themselves, or there are more of them than in any real checkpoint.
    """
    looked = 0
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        prefix, part, level = waiting.pop()
        if isinstance(part, StoredTensor):
            yield prefix, part
            continue
        if level > MOST_LEVELS:
            raise CheckpointError(f"it must have at most {MOST_LEVELS} dicts in each other; one may contain itself")
        if len(prefix) > MOST_NAME:
            raise CheckpointError(f"a name in it must have at most {MOST_NAME} characters, one has {len(prefix)}")
        inner = list(children(part))
        looked += len(inner)
        if looked > MOST_PARTS:
            raise CheckpointError(f"it must hold at most {MOST_PARTS} dicts and tensors, it holds more")
        waiting.extend((f"{prefix}.{name}" if prefix else name, child, level + 1) for name, child in reversed(inner))


def children(part: Any) -> Iterator[tuple[str, Any]]:
    """What a dict holds by name, or what a pickled module's state dict would."""
    if isinstance(part, Mapping):
        yield from ((n, p) for n, p in part.items() if isinstance(n, str) and isinstance(p, FOLLOWED))
    elif isinstance(part, Foreign) and isinstance(part.state, Mapping) and "_parameters" in part.state:
        hidden = part.state.get("_non_persistent_buffers_set")
        skipped = hidden if isinstance(hidden, set) else set()
        for kind in ("_parameters", "_buffers", "_modules"):
            parts = part.state.get(kind)
            if isinstance(parts, Mapping):
                yield from ((n, p) for n, p in children(parts) if n not in skipped)
