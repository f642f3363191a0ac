"""Reads a pickle of torch.save, running nothing of it, within bounds of time and memory.

Python's own unpickler calls what a pickle names, sets attributes on whatever lies on its stack, and gives a memo as
much memory as an index in the pickle asks for. This one interprets the operations that torch.save writes, and no
function is ever on its stack: see torch_objects. What it makes takes memory in proportion to the operations and the
text of the pickle, and both are bounded.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from wmplan.models.errors import CheckpointError
from wmplan.models.released.torch_objects import Foreign, Name, StoredTensor, call, refer

MOST_BYTES = 64 * 2**20
MOST_OPERATIONS = 2_000_000
"""A checkpoint of a thousand tensors with its optimiser takes 200,000."""
MOST_BITS = 1024
"""Of a whole number: larger ones are never sizes, and take long to compare."""


def read_pickle(content: bytes) -> Any:
    """What a pickle holds: dicts, lists, tuples, sets of texts, numbers, texts, StoredTensors, Names and Foreigns.

    Of a dict the entries with plain keys are kept.

    Raises:
        CheckpointError: where it is broken, larger than any real one, or does what torch.save does not.
    """
    if len(content) > MOST_BYTES:
        raise CheckpointError(f"its pickle must have at most {MOST_BYTES} bytes, it has {len(content)}")
    machine = Machine()
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "STOP":
                return machine.stack.pop()
            machine.run(operation.name, argument)
    except CheckpointError:
        raise
    except (ValueError, IndexError, KeyError) as error:  # of genops: cut off; of the stack and the memo: not there
        raise CheckpointError(f"its pickle is broken: {error}") from error
    raise CheckpointError("its pickle is broken: it has no end")


class Machine:
    """The stack and the memo of a pickle under way."""

    def __init__(self) -> None:
        self.left = MOST_OPERATIONS
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """One operation."""
        self.spend(1)
        if name in LITERALS:
            if isinstance(argument, int) and argument.bit_length() > MOST_BITS:
                raise CheckpointError(f"its pickle holds a whole number of more than {MOST_BITS} bits")
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in ACTIONS:
            ACTIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise CheckpointError(f"its pickle holds the operation {name}, which torch.save does not write")

    def spend(self, count: int) -> None:
        """Count operations, and what one copies as so many."""
        self.left -= count
        if self.left < 0:
            raise CheckpointError(f"its pickle must have at most {MOST_OPERATIONS} operations, it has more")

    # ------------------------------------------------------------------ stack and memo

    def pop(self, count: int) -> list[Any]:
        """The newest values."""
        if count > len(self.stack):
            raise IndexError("its stack is empty")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """The values since the newest mark."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def put(self, index: int | None = None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise KeyError(f"its memo has no entry {index}")
        self.stack.append(self.memo[index])

    # ------------------------------------------------------------------ objects

    def push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise CheckpointError("its pickle names a class by something else than text")
        self.stack.append(Name(module, name))

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Name | Foreign) or not isinstance(arguments, tuple):
            raise CheckpointError("its pickle calls what is no function")
        self.spend(sum(len(one) for one in arguments if isinstance(one, list | tuple | set)))
        self.stack.append(call(function, arguments))

    def set_state(self, state: Any) -> None:
        """Give an object its state; attributes of dicts (a state dict's metadata) and of tensors are dropped."""
        target = self.stack[-1]
        if isinstance(target, Foreign):
            target.state = state[0] if isinstance(state, tuple) and len(state) == 2 else state
        elif not isinstance(target, dict | StoredTensor):
            raise CheckpointError(f"its pickle sets attributes of a {type(target).__name__.lower()}")

    def add(self, kind: type, values: list[Any]) -> None:
        """Add values to the container on top, of one kind; to a dict keys and values, which alternate."""
        target = self.stack[-1]
        if isinstance(target, Foreign):
            return
        if not isinstance(target, kind):
            raise CheckpointError(f"its pickle adds items to a {type(target).__name__.lower()}")
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(value for value in values if isinstance(value, str))
        elif isinstance(target, dict):
            pairs = zip(values[::2], values[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, str | int | float | None))


LITERALS = frozenset(
    ["INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"]
    + ["STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"]
    + ["BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"]
)
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}


def _push_mark(kind: Callable[[list[Any]], Any]) -> Callable[[Machine, Any], None]:
    """An operation that replaces the values since the mark by what `kind` makes of them."""

    def act(machine: Machine, _: Any) -> None:
        values = machine.pop_mark()
        machine.stack.append(kind(values))

    return act


def _push_tuple(count: int) -> Callable[[Machine, Any], None]:
    """An operation that replaces the newest values by a tuple of them."""

    def act(machine: Machine, _: Any) -> None:
        values = machine.pop(count)
        machine.stack.append(tuple(values))

    return act


ACTIONS: dict[str, Callable[[Machine, Any], Any]] = {
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(1),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "PUT": lambda machine, index: machine.put(index),
    "BINPUT": lambda machine, index: machine.put(index),
    "LONG_BINPUT": lambda machine, index: machine.put(index),
    "MEMOIZE": lambda machine, _: machine.put(),
    "GET": lambda machine, index: machine.get(index),
    "BINGET": lambda machine, index: machine.get(index),
    "LONG_BINGET": lambda machine, index: machine.get(index),
    "TUPLE": _push_mark(tuple),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "LIST": _push_mark(list),
    "FROZENSET": _push_mark(lambda values: {value for value in values if isinstance(value, str)}),
    "APPEND": lambda machine, _: machine.add(list, machine.pop(1)),
    "APPENDS": lambda machine, _: machine.add(list, machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.add(dict, machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.add(dict, machine.pop_mark()),
    "ADDITEMS": lambda machine, _: machine.add(set, machine.pop_mark()),
    "GLOBAL": lambda machine, argument: machine.push_name(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.push_name(*machine.pop(2)),
    "BINPERSID": lambda machine, _: machine.stack.append(refer(machine.stack.pop())),
    "REDUCE": lambda machine, _: machine.call(*machine.pop(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.pop(2)),
    "NEWOBJ_EX": lambda machine, _: machine.call(*machine.pop(3)[:2]),
    "BUILD": lambda machine, _: machine.set_state(machine.pop(1)[0]),
}
