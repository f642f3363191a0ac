"""Memory that one plan frees stays with the process for the next one."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_BLOCK = 2**25  # the most that glibc takes for M_MMAP_THRESHOLD


@cache
def keep_freed_memory(limit: int = 2**28) -> bool:
    """Have the C library keep up to `limit` bytes that were freed, once for the process.

    glibc gives large blocks back to the system as soon as they are free, and the system clears every page of them when
    they are asked for again: a tenth of the time of a rollout whose tensors take some megabytes each.

    Returns:
        Whether it does: not without glibc, nor where the environment's MALLOC_TRIM_THRESHOLD_ or
        MALLOC_MMAP_THRESHOLD_ says something else.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, limit))
