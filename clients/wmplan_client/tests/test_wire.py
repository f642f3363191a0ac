"""The wire format: what openpi-client writes is read and the other way round, and nothing else gets through."""

from __future__ import annotations

import os
import random
import subprocess
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wmplan_client.wire import MAX_DEPTH, MAX_ITEMS, WireError, pack, unpack

DTYPES = ["bool", "i1", "u1", "<i2", ">u2", "<i4", "<u8", "<f2", "<f4", ">f4", "<f8"]
ANY_ARRAY = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0)))
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | ANY_ARRAY
MESSAGES = st.dictionaries(st.text(max_size=8), PLAIN | st.lists(PLAIN, max_size=4), max_size=6)

# What openpi-client 0.1.2 makes of {"a": np.arange(3, dtype=np.float32), "b": np.float32(1.5), "c": np.bool_(True)}.
GOLDEN = bytes.fromhex(
    "83a16184c40b5f5f6e6461727261795f5fc3c40464617461c40c000000000000803f00000040c4056474797065a33c6634c405736861706591"
    "03a16283c40d5f5f6e7067656e657269635f5fc3c40464617461cb3ff8000000000000c4056474797065a33c6634a16383c40d5f5f6e706765"
    "6e657269635f5fc3c40464617461c3c4056474797065a37c6231"
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or one != one and other != other)


@settings(max_examples=200, deadline=None)
@given(MESSAGES)
def test_what_is_packed_is_unpacked(message: dict[str, Any]) -> None:
    assert same(message, unpack(pack(message)))


def test_bytes_are_those_of_openpi_client() -> None:
    message = {"a": np.arange(3, dtype=np.float32), "b": np.float32(1.5), "c": np.bool_(True)}
    assert pack(message) == GOLDEN
    assert same(unpack(GOLDEN), message)


def test_openpi_client_reads_and_writes_the_same_bytes() -> None:
    python = os.environ.get("WMPLAN_OPENPI_PYTHON")
    if not python:
        pytest.skip("WMPLAN_OPENPI_PYTHON does not name a Python that has openpi-client")
    program = (
        "import sys; from openpi_client import msgpack_numpy as m; data = sys.stdin.buffer.read();"
        "message = m.unpackb(data); sys.stdout.buffer.write(m.packb(message))"
    )
    rng = np.random.default_rng(0)
    message = {
        "pixels": rng.integers(0, 256, (8, 8, 3), np.uint8),
        "proprio": rng.normal(size=2).astype(np.float32),
        "committed": np.zeros((0, 2), np.float32),
        "big_endian": np.arange(3, dtype=">i4"),
        "number": np.float32(0.1),
        "flag": np.bool_(False),
        "nested": {"list": [1, 2.5, "text", None, b"bytes"]},
    }
    done = subprocess.run([python, "-c", program], input=pack(message), capture_output=True, check=True)
    assert done.stdout == pack(message)
    assert same(unpack(done.stdout), message)


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([1j]),
        np.zeros(2, [("x", "f4")]),
        np.datetime64("2020-01-01"),
        object(),
        2**64,
        {1, 2},
    ],
)
def test_what_cannot_be_packed_is_said(value: Any) -> None:
    with pytest.raises(WireError):
        pack({"value": value})


def array_map(**changes: Any) -> bytes:
    """An array's map with some entries replaced, or left out where they are None."""
    entries = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2], **changes}
    return msgpack.packb({key.encode(): value for key, value in entries.items() if value is not None})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (array_map(dtype="|O"), "dtype"),
        (array_map(dtype="O", data=b"\x80\x04N."), "dtype"),
        (array_map(dtype="<U2"), "dtype"),
        (array_map(dtype="<c8", shape=[1]), "dtype"),
        (array_map(dtype="<M8[s]", shape=[1]), "dtype"),
        (array_map(dtype="f4"), "dtype"),
        (array_map(dtype="f4,(1000000,1000000)f4"), "dtype"),
        (array_map(dtype=[["a", "<f4"]]), "dtype"),
        (array_map(dtype=b"<f4"), "dtype"),
        (array_map(dtype=None), "dtype"),
        (array_map(shape=[3]), "came with 8 bytes"),
        (array_map(shape=[1]), "came with 8 bytes"),
        (array_map(shape=[-2]), "whole numbers"),
        (array_map(shape=[2.0]), "whole numbers"),
        (array_map(shape=[True, 2]), "whole numbers"),
        (array_map(shape=[2**62, 2**62]), "cannot have"),
        (array_map(shape=[0, 2**62], data=b""), "cannot have"),
        (array_map(shape=[1] * 9), "whole numbers"),
        (array_map(shape=None), "lacks"),
        (array_map(shape=2), "lacks"),
        (array_map(data=None), "lacks"),
        (array_map(data="12345678"), "lacks"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "out of the range"),
        (msgpack.packb({b"__npgeneric__": True, b"data": "1", b"dtype": "<f4"}), "came as str"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 1.5, b"dtype": "<i4"}), "came as float"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 2, b"dtype": "|b1"}), "no boolean"),
        (msgpack.packb({1: 2}), "a key must be a text, got a int"),
        (msgpack.packb({None: 2}), "a key must be a text, got a NoneType"),
        (b"\x81" + b"\x90" + b"\x01", "a key must be a text, got a list"),
        (b"\x82\xa1a\x01\xa1a\x02", "twice"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "extension"),
        (msgpack.packb({"a": msgpack.Timestamp(0, 0)}), "extension"),
        (b"\x91" * (MAX_DEPTH + 1) + b"\xc0", "nested"),
        (b"\x91" * 100_000 + b"\xc0", "nested"),
        (msgpack.packb([None] * (MAX_ITEMS + 1)), "more than"),
        (b"\xdd\xff\xff\xff\xff", "more than"),
        (b"\xdf\xff\xff\xff\xff", "more than"),
        (b"\xc6\xff\xff\xff\xff", "not a msgpack"),
        (b"\xdb\xff\xff\xff\xff", "not a msgpack"),
        (b"\xa1\xff", "not a msgpack"),
        (b"\xc1", "not a msgpack"),
        (b"\xa5abc", "not a msgpack"),
        (b"\x92\x01", "cut short"),
        (b"", "cut short"),
        (b"\x01\x02", "1 bytes follow"),
    ],
)
def test_what_is_malformed_is_refused_and_named(data: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        unpack(data)


def mutations(seed: int, count: int) -> list[bytes]:
    """Well-formed messages with bytes changed, cut out, doubled or cut off, and plain noise."""
    rng = random.Random(seed)
    frame = {"pixels": np.zeros((4, 4, 3), np.uint8), "proprio": np.zeros(2, np.float32), "epoch": 3}
    seeds = [pack(frame), pack({"wmplan": "set_goal", "goal": frame}), pack({"wmplan": "reset", "seed": 1}), GOLDEN]
    made = []
    for _ in range(count):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(5):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del data[at : at + rng.randrange(1, 20)]
                case 2:
                    data[at:at] = data[at : at + rng.randrange(1, 40)]
                case 3:
                    data[at:at] = rng.choice([b"\x91", b"\x81", b"\xdd\x7f", b"\xc6\x00", b"\xdf", b"\xc7\x05\x01"])
                case 4:
                    data = bytearray(rng.randbytes(rng.randrange(1, 60)))
            data = data or bytearray(b"\xc1")
        made.append(bytes(data))
    return made


def test_ten_thousand_malformed_messages_do_no_harm() -> None:
    """Each is read or refused by a WireError, without holding more memory than a message of its size can need."""
    messages = mutations(seed=0, count=10_000)
    refused = 0
    tracemalloc.start()
    for data in messages:
        try:
            unpack(data)
        except WireError:
            refused += 1
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused > 5_000
    assert after < 1_000_000 and peak < 4_000_000, (after, peak)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    try:
        message = unpack(data)
    except WireError:
        return
    assert same(unpack(msgpack.packb(message)), message) if not _holds_numpy(message) else True


def _holds_numpy(message: Any) -> bool:
    if isinstance(message, dict):
        return any(map(_holds_numpy, message.values()))
    if isinstance(message, list):
        return any(map(_holds_numpy, message))
    return isinstance(message, np.ndarray | np.generic)


def test_arrays_that_came_are_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        unpack(pack(np.zeros(3)))[0] = 1
