"""The processes that train one model together: what each has of a batch, and what is summed over all of them.

Every process computes a loss whose mean over the processes is the loss of the whole batch, and gradients are averaged.
A mean over rows is so a mean over a process's own rows, times `Share.weight`. What looks over the batch (SIGReg,
variances, negatives) is computed of all rows by every process alike, from sums and rows that come from all: going back
through them, a gradient is the sum of what all processes ask for. Random numbers are drawn for the whole batch, so that
a row sees the same ones whichever process has it: the result does not depend on how many there are, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from wmplan.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")
Batch = dict[str, Tensor]


class LostRankError(UserError):
    """Another process of the run has ended."""


class Ranks:
    """One process alone, on a device; ManyRanks is one of several.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: that it computes on.
    """

    rank, world = 0, 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, total: int) -> Share:
        """What this process has of a batch of so many rows.

        Raises:
            UserError: where there are fewer rows than processes.
        """
        if total < self.world:
            raise UserError(f"batch_size must be at least the number of processes, {self.world}, got {total}")
        bounds = [total * rank // self.world for rank in range(self.world + 1)]
        return Share(self, bounds[self.rank], bounds[self.rank + 1], total)

    def put(self, batch: Mapping[str, Tensor]) -> Batch:
        """A batch on the device; to a GPU the copy goes on while the processor prepares what comes next."""
        if self.device.type != "cuda":
            return {name: tensor.to(self.device) for name, tensor in batch.items()}
        return {name: tensor.pin_memory().to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, without a gradient."""
        return tensor

    def rows(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, one after the other, without a gradient; `counts` are of each process."""
        return tensor

    def first_then_all(self, make: Callable[[], T]) -> T:
        """What `make` gives; the first process calls it before the others do, who find the file that it has written."""
        return make()

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The mean of each figure over the processes."""
        return dict(figures)

    def largest(self, number: float) -> float:
        """The largest of the processes' numbers."""
        return number

    def wait(self) -> None:
        """Go on when all processes are here."""

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Make the gradients the mean over the processes."""

    def align(self, module: nn.Module) -> None:
        """Give every process the first one's weights and buffers."""


class ManyRanks(Ranks):
    """One of several processes, which talk by torch.distributed's default group."""

    def __init__(self, device: torch.device, rank: int, world: int) -> None:
        super().__init__(device)
        self.rank, self.world = rank, world

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of whatever kind the backend has for a peer that is gone
            raise LostRankError(
                "another process of this run has ended; the same command goes on from the last save"
            ) from error

    def sum(self, tensor: Tensor) -> Tensor:
        result = tensor.detach().clone(memory_format=torch.contiguous_format)
        with self._together():
            torch.distributed.all_reduce(result)
        return result

    def rows(self, tensor: Tensor, counts: Sequence[int]) -> Tensor:
        largest = max(counts)
        padded = tensor.new_zeros(largest, *tensor.shape[1:])
        padded[: len(tensor)] = tensor.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        with self._together():
            torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def first_then_all(self, make: Callable[[], T]) -> T:
        failed, result = torch.zeros((), device=self.device), None
        error: BaseException | None = None
        if self.first:
            try:
                result = make()
            except BaseException as raised:
                error, failed = raised, failed + 1
        stopped = bool(self.sum(failed))
        if error is not None:
            raise error
        if stopped:
            raise LostRankError("the first process of this run has stopped")
        return result if self.first else make()  # type: ignore[return-value]

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        values = self.sum(torch.tensor(list(figures.values()), dtype=dtype, device=self.device)) / self.world
        return dict(zip(figures, values.tolist(), strict=True))

    def largest(self, number: float) -> float:
        result = torch.tensor(float(number), device=self.device)
        with self._together():
            torch.distributed.all_reduce(result, torch.distributed.ReduceOp.MAX)
        return float(result)

    def wait(self) -> None:
        self.largest(0.0)

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:  # nothing here depends on it; elsewhere something may
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        whole = self.sum(torch.cat([gradient.flatten() for gradient in gradients])) / self.world
        for gradient, part in zip(gradients, whole.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def align(self, module: nn.Module) -> None:
        for tensor in module.state_dict().values():
            same = tensor.detach().contiguous()
            with self._together():
                torch.distributed.broadcast(same, 0)
            tensor.copy_(same)


@dataclass(frozen=True)
class Share:
    """What a process has of a batch: its rows `start` to `stop` of `total`; all of them where nothing is said."""

    ranks: Ranks = Ranks()
    start: int = 0
    stop: int = 0
    total: int = 0

    @property
    def alone(self) -> bool:
        """Whether that is the whole batch."""
        return self.ranks.world == 1

    @property
    def weight(self) -> float:
        """Of a mean over the own rows, so that its mean over the processes is that over the batch."""
        return 1.0 if self.alone else self.ranks.world * (self.stop - self.start) / self.total

    def own(self, whole: Tensor) -> Tensor:
        """The own rows of what is there for the whole batch."""
        return whole if self.alone else whole[self.start : self.stop]

    def of_first(self, count: int, rows: int) -> int:
        """How many of the own rows, which are `rows`, are among the first `count` of the batch."""
        return min(count, rows) if self.alone else min(max(count - self.start, 0), rows)

    def randn(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Normal numbers for the own rows, of shape (n, ...), drawn for the whole batch."""
        return self.own(torch.randn(shape if self.alone else (self.total, *shape[1:]), generator=generator))

    def count(self, own: Tensor) -> int:
        """How many rows all processes have of what this one has `own` of: one or several for each row of the batch."""
        return len(own) if self.alone else len(own) * self.total // (self.stop - self.start)

    def offset(self, own: Tensor) -> int:
        """How many rows the processes before this one have of it."""
        return 0 if self.alone else len(own) * self.start // (self.stop - self.start)

    def all_of(self, number: int) -> int:
        """The sum of a number of each process, of rows that no batch size tells."""
        return int(self.ranks.sum(torch.tensor(number, device=self.ranks.device)))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, with its gradient."""
        return tensor if self.alone else _Sum.apply(tensor, self.ranks)  # type: ignore[no-any-return]

    def mean(self, own: Tensor) -> Tensor:
        """The mean over the rows (n, ...) of all processes, with its gradient."""
        return own.mean(0) if self.alone else self.sum(own.sum(0)) / self.count(own)

    def gather(self, own: Tensor) -> Tensor:
        """The rows (n, ...) of all processes in their order, with their gradient."""
        if self.alone:
            return own
        each, world, total = len(own) // (self.stop - self.start), self.ranks.world, self.total
        bounds = [each * (total * rank // world) for rank in range(world + 1)]
        counts = [after - before for before, after in zip(bounds, bounds[1:], strict=False)]
        return _Rows.apply(own, self.ranks, counts)  # type: ignore[no-any-return]


WHOLE = Share()
"""Of a process that is alone."""


class _Sum(torch.autograd.Function):
    """A sum over processes; its gradient is summed over them, too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(own)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return ctx.ranks.sum(gradients[0]), None


class _Rows(torch.autograd.Function):
    """The rows of all processes; a row's gradient is summed over them."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks, counts: Sequence[int]) -> Tensor:
        ctx.ranks, ctx.counts = ranks, counts
        return ranks.rows(own, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        start = sum(ctx.counts[: ctx.ranks.rank])
        return ctx.ranks.sum(gradients[0])[start : start + ctx.counts[ctx.ranks.rank]], None, None
