"""Two possible clips, and the two impossible ones that come of exchanging their ends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ORDER = ("AA", "BB", "AB", "BA")
"""Beginning and end of each clip of a quadruplet, as worlds."""
POSSIBLE, IMPOSSIBLE = (0, 1), (2, 3)
"""Places in ORDER: POSSIBLE[i] and IMPOSSIBLE[i] are the same up to the break."""


@dataclass(frozen=True, eq=False)
class Quadruplet:
    """Two worlds A and B, each possible from its beginning to its end, and the moment at which they are exchanged.

    What the camera sees depends on the world's state alone. So every frame of the impossible clips occurs in a
    possible one, and up to the break each is a possible one to the bit: nothing but the order of the frames tells
    them apart.

    Attributes:
        violates: the property that the impossible clips violate.
        index: its number among those of the property.
        occluded: whether something stands before the place of the break, so that A and B look the same at it.
        break_at: the first frame that is another world's.
        severity: how far A and B are apart, in the property's own unit.
        frames: of A and B, uint8 (2, T, H, W, 3).
        recoloured: A with a legal change of light and colours from the break on, uint8 (T, H, W, 3).
        states: everything that decides how the worlds go on, (2, T, N).
        actions: what was commanded in A and in B from each frame on, (2, T, a); None where there is no robot.
        origin: what the source needs to simulate it again.
    """

    violates: str
    index: int
    occluded: bool
    break_at: int
    severity: float
    frames: NDArray[np.uint8]
    recoloured: NDArray[np.uint8]
    states: NDArray[np.float64]
    actions: NDArray[np.float32] | None = None
    origin: Any = field(default=None, repr=False)

    @property
    def clips(self) -> NDArray[np.uint8]:
        """All four in the order of ORDER, uint8 (4, T, H, W, 3)."""
        return exchanged(self.frames, self.break_at)

    @property
    def clip_states(self) -> NDArray[np.float64]:
        """States of the four clips, (4, T, N)."""
        return exchanged(self.states, self.break_at)

    @property
    def clip_actions(self) -> NDArray[np.float32] | None:
        """Actions of the four clips, (4, T, a): those of the world that a clip begins in, to its end."""
        return None if self.actions is None else self.actions[[0, 1, 0, 1]]

    @property
    def twins(self) -> Quadruplet:
        """The same with A in the place of B: its impossible clips are possible, and no one can tell them."""
        actions = None if self.actions is None else self.actions[[0, 0]]
        return Quadruplet(
            self.violates,
            self.index,
            self.occluded,
            self.break_at,
            0.0,
            self.frames[[0, 0]],
            self.recoloured,
            self.states[[0, 0]],
            actions,
            self.origin,
        )

    @property
    def sha256(self) -> str:
        """Of everything that a model is shown."""
        found = hashlib.sha256(f"{self.violates} {self.index} {self.break_at}".encode())
        for array in (self.frames, self.recoloured, self.actions):
            if array is not None:
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def exchanged(worlds: NDArray[Any], break_at: int) -> NDArray[Any]:
    """Four sequences in the order of ORDER from two, (2, T, ...) -> (4, T, ...)."""
    first, second = worlds
    return np.stack(
        [
            first,
            second,
            np.concatenate([first[:break_at], second[break_at:]]),
            np.concatenate([second[:break_at], first[break_at:]]),
        ]
    )


class ExamSource(Protocol):
    """Makes quadruplets. Whatever it draws depends on the property, the seed and the index alone."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What can be violated, and what the severity of each is measured in."""

    @property
    def length(self) -> int:
        """Frames in a clip."""

    @property
    def action_dim(self) -> int:
        """Numbers in an action, 0 where there is no robot."""

    @property
    def rate(self) -> float:
        """Frames a second."""

    def quadruplet(self, name: str, index: int, rng: np.random.Generator) -> Quadruplet:
        """The quadruplet of a property that the generator draws; even indices have an occluder where there are any."""

    def predict(self, quadruplet: Quadruplet, world: int, frame: int) -> NDArray[np.float64]:
        """States (T - frame, N) that the simulator goes on to from a world's state at `frame`."""

    def close(self) -> None:
        """Free what draws."""
