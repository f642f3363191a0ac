"""The libraries of the extra `data`: pyarrow, av and zarr, imported at their first use."""

from __future__ import annotations

import importlib
import threading
from typing import Any

from wmplan.errors import UserError

ONE_READER = threading.RLock()
"""Held while videos and tables that are open are read: a sampler's thread reads ahead, and a decoder has one place in
its file. HDF5 has such a lock of its own."""


def load(library: str, what: str) -> Any:
    """A library of the extra.

    Args:
        what: is read with it, for the message.

    Raises:
        UserError: where it is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(f"{what} needs an extra: pip install 'wmplan[data]' ({error})") from error
