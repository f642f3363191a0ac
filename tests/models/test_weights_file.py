"""Safetensors files: headers that lie, and the hash that a file carries of itself."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from wmplan.models.errors import CheckpointError
from wmplan.models.weights_file import FileChanged, WeightsFile, file_sha256, with_own_hash

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"".join(with_own_hash(TENSORS, {"note": "0" * 64, "card": {}})))
    return path


def with_header(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_the_file_reads_as_the_library_reads_it(file: Path) -> None:
    weights = WeightsFile(file)
    weights.require_intact()
    assert weights.config == {"note": "0" * 64, "card": {}}
    assert weights.shapes == {"a": (2, 3), "b": (4,)}
    for name, tensor in load_file(file).items():
        assert torch.equal(weights.tensor(name), tensor) and torch.equal(tensor, TENSORS[name])
    assert weights.sha256() == file_sha256(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_carried_hash_is_that_of_the_file_with_zeros_in_its_place(file: Path) -> None:
    """As the module says, found by other means: so that other programs can check it too."""
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    carried = json.loads(json.loads(content[8:end])["__metadata__"]["wmplan"])["sha256"]
    assert hashlib.sha256(content.replace(carried.encode(), b"0" * 64)).hexdigest() == carried


def test_every_byte_counts(file: Path) -> None:
    """But for the names under which the hash is found; without them the file is one of an old version."""
    whole = file.read_bytes()
    for place in [*range(8), *range(whole.index(b"sha256") + len("sha256"), len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="weights.safetensors"):
            WeightsFile(file).require_intact()


def test_a_file_that_is_replaced_after_it_was_opened_is_noticed(file: Path, tmp_path: Path) -> None:
    weights = WeightsFile(file)
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    os.replace(tmp_path / "other", file)
    with pytest.raises(FileChanged, match="is being written by another program"):
        weights.sha256()
    with pytest.raises(FileChanged):
        weights.require_intact()


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, b"1234"),
        ({"a": {"dtype": "F32", "shape": [2**63, 2**63], "data_offsets": [0, 4]}}, b"1234"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"1234"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}, b"1234"),
        (
            {n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"},  # both on the same bytes
            b"1234",
        ),
        ({"a": {"dtype": "COMPLEX", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        ({"__metadata__": {"wmplan": "{" * 1000}}, b""),
        ({"__metadata__": {"wmplan": "[]"}}, b""),
        ({"__metadata__": {"wmplan": '{"sha256": 5}'}}, b""),
        ({"__metadata__": {"wmplan": '{"sha256": "' + "x" * 64 + '"}'}}, b""),
        (b"[" * 100_000, b""),
        (b"\xff\xfe", b""),
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    with pytest.raises(CheckpointError, match="weights.safetensors") as raised:
        WeightsFile(with_header(tmp_path / "weights.safetensors", header, data))
    assert str(raised.value).isprintable()


def test_a_header_larger_than_any_real_one_is_not_read(tmp_path: Path) -> None:
    file = with_header(tmp_path / "x.safetensors", b" " * (17 * 2**20))
    with pytest.raises(CheckpointError, match="must have a header of at most 16777216 bytes, it has 17825792"):
        WeightsFile(file)


def test_a_type_that_torch_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    header = {"odd": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}
    with pytest.raises(CheckpointError, match="odd|not a safetensors file"):
        WeightsFile(with_header(tmp_path / "x.safetensors", header, b"123")).tensor("odd")


@pytest.mark.parametrize("start", [0x80, 0x180, 0x50])
def test_a_cut_file_is_no_pickle_whatever_the_length_of_its_header(tmp_path: Path, start: int) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(start)
    with pytest.raises(CheckpointError, match="is truncated"):
        WeightsFile(with_header(tmp_path / "x.safetensors", header, b"12"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.safetensors")
    for read in (WeightsFile, file_sha256):
        with pytest.raises(CheckpointError, match="must be a file"):
            read(tmp_path / "weights.safetensors")
