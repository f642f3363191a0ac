"""Messages on the wire: msgpack with numpy arrays, byte for byte as openpi-client 0.1.2 packs them; no pickle.

An array is the map {b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}, a numpy number the map
{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}. Whoever unpacks does not trust the sender: nothing is
allocated that the message did not bring along, and what it holds is counted before it is built.
"""

from __future__ import annotations

import math
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from .quotes import short

MAX_DEPTH = 8  # maps and lists inside one another
MAX_ITEMS = 4096  # values in one message, keys too
MAX_TEXT = 65536  # bytes in one text
MAX_DIMENSIONS = 8

_KINDS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}  # bytes in one number
_ALLOWED = {np.dtype(f"{order}{kind}{size}").str for kind, sizes in _KINDS.items() for size in sizes for order in "<>"}


class WireError(ValueError):
    """A message is not one of ours, or asks for more than a message may."""


def pack(message: Any) -> bytes:
    """A message of maps, lists, texts, bytes, numbers and numpy arrays as bytes.

    Raises:
        WireError: at anything else, such as arrays of objects, of texts or of complex numbers.
    """
    try:
        return cast(bytes, msgpack.packb(message, default=_numpy_as_map))
    except (TypeError, ValueError, OverflowError) as error:
        raise error if isinstance(error, WireError) else WireError(f"cannot be sent: {error}") from error


def _numpy_as_map(value: Any) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise WireError(f"a {type(value).__name__} cannot be sent; numpy arrays, numbers, texts, lists and maps can")
    if value.dtype.str not in _ALLOWED:
        raise WireError(f"an array of {value.dtype} cannot be sent; booleans, integers and floats can")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def unpack(data: bytes) -> Any:
    """The message in `data`; its arrays are read-only views of the bytes that came.

    Raises:
        WireError: saying what is wrong with it.
    """
    unpacker = msgpack.Unpacker(
        raw=False, max_buffer_size=max(len(data), 1), max_str_len=MAX_TEXT, max_bin_len=len(data)
    )
    unpacker.feed(data)
    try:
        message = _Reader(data, unpacker).value(0)
    except WireError:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise WireError(f"not a msgpack message: {error or type(error).__name__}") from error
    if unpacker.tell() != len(data):
        raise WireError(f"{len(data) - unpacker.tell()} bytes follow the message")
    return message


class _Reader:
    """Walks through a message value by value, so that depth and number are known before anything is built."""

    def __init__(self, data: bytes, unpacker: msgpack.Unpacker) -> None:
        self.data, self.unpacker, self.left = data, unpacker, MAX_ITEMS

    def value(self, depth: int) -> Any:
        at = self.unpacker.tell()
        if at >= len(self.data):
            raise WireError("the message is cut short")
        kind = self.data[at]
        if 0x80 <= kind <= 0x8F or kind in (0xDE, 0xDF):
            return self.map(self._enter(self.unpacker.read_map_header(), 2, depth), depth + 1)
        if 0x90 <= kind <= 0x9F or kind in (0xDC, 0xDD):
            length = self._enter(self.unpacker.read_array_header(), 1, depth)
            return [self.value(depth + 1) for _ in range(length)]
        if 0xC7 <= kind <= 0xC9 or 0xD4 <= kind <= 0xD8:
            raise WireError("the message holds an extension type")
        return self.unpacker.unpack()

    def _enter(self, length: int, values: int, depth: int) -> int:
        if depth >= MAX_DEPTH:
            raise WireError(f"the message is nested more than {MAX_DEPTH} deep")
        self.left -= length * values
        if self.left < 0:
            raise WireError(f"the message holds more than {MAX_ITEMS} values")
        return length

    def map(self, length: int, depth: int) -> Any:
        found: dict[str | bytes, Any] = {}
        for _ in range(length):
            key = self.value(depth)
            if not isinstance(key, str | bytes):
                raise WireError(f"a key must be a text, got a {type(key).__name__}")
            if key in found:
                raise WireError(f"the key {short(key)} is there twice")
            found[key] = self.value(depth)
        if b"__ndarray__" in found:
            return _array(found)
        if b"__npgeneric__" in found:
            return _number(found)
        return found


def _dtype(found: dict[str | bytes, Any]) -> np.dtype[Any]:
    name = found.get(b"dtype")
    if not isinstance(name, str) or name not in _ALLOWED:
        raise WireError(f"the dtype {short(name)} is not taken; booleans, integers and floats are")
    return np.dtype(name)


def _array(found: dict[str | bytes, Any]) -> NDArray[Any]:
    dtype, data, shape = _dtype(found), found.get(b"data"), found.get(b"shape")
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise WireError("an array lacks its data or its shape")
    if len(shape) > MAX_DIMENSIONS or any(type(size) is not int or size < 0 for size in shape):
        raise WireError("an array's shape must be at most 8 whole numbers of at least 0")
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > max(len(data), 2**31):
        raise WireError(f"an array cannot have the shape {tuple(shape)}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError(f"an array of shape {tuple(shape)} and dtype {dtype.str} came with {len(data)} bytes")
    return np.ndarray(tuple(shape), dtype, buffer=data)


def _number(found: dict[str | bytes, Any]) -> np.generic:
    dtype, value = _dtype(found), found.get(b"data")
    if not isinstance(value, bool | int | float) or (dtype.kind in "biu" and isinstance(value, float)):
        raise WireError(f"a number of dtype {dtype.str} came as {type(value).__name__}")
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise WireError(f"{value} is out of the range of {dtype.str}")
    if dtype.kind == "b" and value not in (0, 1):
        raise WireError(f"{value} is no boolean")
    with np.errstate(over="ignore"):  # 1e300 is an infinite float32, as it would be in an array
        return cast(np.generic, dtype.type(value))
