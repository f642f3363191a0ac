"""What a computation holds in memory, counted tensor by tensor as they come and go."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorPeak(TorchDispatchMode):
    """The most bytes that tensors made inside held at one time.

    It does not depend on what the system pages out or an allocator keeps, and leaves out what libraries take inside of
    one operation.

    Attributes:
        peak: in bytes, so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._holders: Counter[int] = Counter()  # tensors by their memory

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                storage = tensor.untyped_storage()
                pointer, size = storage.data_ptr(), storage.nbytes()
                self._live += 0 if self._holders[pointer] else size
                self._holders[pointer] += 1
                weakref.finalize(tensor, self._release, pointer, size)
        self.peak = max(self.peak, self._live)
        return out

    def _release(self, pointer: int, size: int) -> None:
        self._holders[pointer] -= 1
        if not self._holders[pointer]:
            del self._holders[pointer]
            self._live -= size
