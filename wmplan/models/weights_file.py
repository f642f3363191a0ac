"""Safetensors files from outside: opened within bounds, and hashed.

A weights file of ours carries a hash of itself in its header, so that it can be checked without its folder: the
SHA-256 of the file with zeros in the place of the hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from wmplan.models.errors import CheckpointError
from wmplan.models.reading import parse_json, readable, require_regular

if TYPE_CHECKING:
    from torch import Tensor

MOST_HEADER_BYTES = 16 * 2**20
"""Of a header: that of a thousand tensors has 150 KiB."""
OURS = "wmplan"
"""Name of our part of a header."""
NO_HASH = "0" * 64


class FileChanged(CheckpointError):
    """Another program put another file in the place of this one while it was read."""


class WeightsFile:
    """An open safetensors file.

    Attributes:
        path: the file.
        config: what our part of the header says, None where it has none.
        shapes: of the tensors, by their names.

    Raises:
        CheckpointError: saying what is wrong with the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = _identity(path)
        _require_header(path)
        try:
            self._file = safe_open(path, framework="pt")
            metadata = self._file.metadata() or {}
            slices = {name: self._file.get_slice(name) for name in self._file.keys()}  # noqa: SIM118
            self.shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(describe_broken(path, error)) from error
        self.require_unchanged()
        self.config: dict[str, Any] | None = None
        self._own_hash: str | None = None
        if OURS in metadata:  # where models of old versions may have NaN among their figures
            config = parse_json(metadata[OURS], f"the header of {path}", constants=lambda constant: None)
            own_hash = config.pop("sha256", None) if isinstance(config, dict) else ""
            if own_hash is not None and not (isinstance(own_hash, str) and re.fullmatch("[0-9a-f]{64}", own_hash)):
                raise CheckpointError(f"{path} is damaged: its header must hold a configuration with a SHA-256")
            self.config, self._own_hash = config, own_hash

    def tensor(self, name: str) -> Tensor:
        """One tensor.

        Raises:
            CheckpointError: where it is of a type that torch does not have.
        """
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{self.path}: the tensor {name} cannot be read: {error}") from error
        return tensor

    def sha256(self) -> str:
        """Hash of the whole file.

        Raises:
            FileChanged: where it is not the file any more that was opened.
        """
        digest = file_sha256(self.path)
        self.require_unchanged()
        return digest

    def require_intact(self) -> None:
        """Raise a CheckpointError where the file carries a hash of itself and has another; older ones carry none."""
        if self._own_hash is None:
            return
        digest = hashlib.sha256()
        with readable(self.path), self.path.open("rb") as file:
            start = file.read(8 + _header_bytes(self.path))
            digest.update(start.replace(self._own_hash.encode(), NO_HASH.encode(), 1))
            for block in iter(lambda: file.read(2**20), b""):
                digest.update(block)
        self.require_unchanged()
        if digest.hexdigest() != self._own_hash:
            raise CheckpointError(
                f"{self.path} is damaged: its bytes do not have the SHA-256 that was written into it, copy it again"
            )

    def require_unchanged(self) -> None:
        """Raise FileChanged where another file has taken the place of the one that was opened."""
        if _identity(self.path) != self._identity:
            raise FileChanged(f"{self.path} is being written by another program: try again")


def file_sha256(path: Path) -> str:
    """Hash of a regular file.

    Raises:
        CheckpointError: where it cannot be read.
    """
    require_regular(path)
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_own_hash(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> list[bytes | memoryview]:
    """The parts of a weights file that carries `config` and a hash of itself in its header."""
    from safetensors.torch import save as serialize

    # The hash comes first: nothing else of the header can stand before it.
    weights = serialize(dict(tensors), metadata={OURS: json.dumps({"sha256": NO_HASH, **config})})
    at = weights.index(NO_HASH.encode())
    digest = hashlib.sha256(weights).hexdigest().encode()
    return [weights[:at], digest, memoryview(weights)[at + len(digest) :]]


def _identity(path: Path) -> tuple[int, int, int, int]:
    """What is another when another file is put in the place of this one, or when it is written to."""
    require_regular(path)
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _header_bytes(path: Path) -> int:
    with readable(path), path.open("rb") as file:
        return int.from_bytes(file.read(8), "little")


def _require_header(path: Path) -> None:
    """Raise a CheckpointError where the header says that it is larger than any real one."""
    if MOST_HEADER_BYTES < (size := _header_bytes(path)) <= path.stat().st_size:
        raise CheckpointError(f"{path} must have a header of at most {MOST_HEADER_BYTES} bytes, it has {size}")


def describe_broken(file: Path, error: Exception) -> str:
    """What is wrong with a file that the safetensors library cannot read."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(9)
    if size == 0:
        return f"{file} is empty"
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):
        return f"{file} is a pickle as torch.save writes it, not safetensors, which a model of ours has to be"
    header_end = int.from_bytes(start[:8], "little") + 8
    if size < header_end < 1e8 or (start[8:9] == b"{" and "incomplete" in str(error).lower()):
        return f"{file} is truncated, it ends after {size} bytes: copy it again"
    return f"{file} is not a safetensors file: {error}"
