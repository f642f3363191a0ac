"""The files of a zarr array's chunks: which are missing, and how much each unpacks to, before any is unpacked."""

from __future__ import annotations

import bz2
import lzma
import math
import re
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PIECE = 1 << 20  # bytes that are unpacked at a time, to count them
DEFLATE_MOST = 1032  # bytes that one byte of DEFLATE can unpack to
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def unpacks_to_more(path: Path, codec: str | None, most: int) -> bool:
    """Whether a chunk's file unpacks to more than `most` bytes, or does not tell how many it unpacks to."""
    size = path.stat().st_size
    if codec in ("gzip", "zlib"):
        return size * DEFLATE_MOST > most and _counted(path, partial(zlib.decompressobj, wbits=47), most)
    if codec == "bz2":
        return _counted(path, bz2.BZ2Decompressor, most)
    if codec == "lzma":
        return _counted(path, partial(lzma.LZMADecompressor, memlimit=1 << 30), most)
    if codec not in ("blosc", "lz4", "zstd"):
        return size > most
    with path.open("rb") as file:
        start = file.read(18)
    if codec == "zstd":
        told = _zstd_size(start)
        return told is None or told > most
    return int.from_bytes(start[4:8] if codec == "blosc" else start[:4], "little") > most


def lost_chunks(folder: Path, told: dict[str, Any]) -> tuple[int, int, str]:
    """How many of an array's chunks have no file, of how many, and the first such file's name.

    Args:
        folder: of the array.
        told: its .zarray, checked.
    """
    grid = [-(-size // max(chunk, 1)) for size, chunk in zip(told["shape"], told["chunks"], strict=True)]
    separator = "/" if told.get("dimension_separator") == "/" else "."
    found = {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}
    named = (separator.join(_place(number, grid)) for number in range(math.prod(grid)))
    first = next((name for name in named if name not in found), "")
    if not first:
        return 0, math.prod(grid), ""
    there = sum(_is_in_grid(name.split(separator), grid) for name in found)
    return math.prod(grid) - there, math.prod(grid), first


def _place(number: int, grid: list[int]) -> list[str]:
    """The coordinates of a chunk, the last one counting fastest."""
    place: list[str] = []
    for size in reversed(grid):
        number, at = divmod(number, size)
        place.insert(0, str(at))
    return place


def _is_in_grid(place: list[str], grid: list[int]) -> bool:
    digits = len(place) == len(grid) and all(re.fullmatch(r"0|[1-9]\d{0,15}", one) for one in place)
    return digits and all(int(one) < size for one, size in zip(place, grid, strict=True))


def _counted(path: Path, decompressor: Callable[[], Any], most: int) -> bool:
    """The same for what has to be unpacked to know, a piece at a time. Damage is left for the reader to find."""
    total, one = 0, decompressor()
    with path.open("rb") as file:
        data = file.read(PIECE)
        while True:
            try:
                unpacked = one.decompress(data, PIECE)
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                return "limit" in str(error).lower()  # LZMA's, of memory
            total += len(unpacked)
            if total > most:
                return True
            data = one.unused_data if one.eof else getattr(one, "unconsumed_tail", b"")
            if one.eof:
                one = decompressor()  # another stream may follow
            if not data and len(unpacked) < PIECE and not (data := file.read(PIECE)):
                return False


def _zstd_size(start: bytes) -> int | None:
    """What a Zstandard frame says that it unpacks to (RFC 8878, 3.1.1.1); None where it does not."""
    if len(start) < 6 or start[:4] != ZSTD_MAGIC:
        return 0  # damaged: nothing is unpacked
    flag, single, dictionary = start[4] >> 6, start[4] >> 5 & 1, start[4] & 3
    length = (single, 2, 4, 8)[flag]
    first = 6 - single + (0, 1, 2, 4)[dictionary]
    told = int.from_bytes(start[first : first + length], "little") + 256 * (flag == 1)
    return told if length else None
