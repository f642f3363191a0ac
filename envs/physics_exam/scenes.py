"""The scenes as a source of quadruplets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.physics_exam.changes import colour, permanence, shape
from wmplan.envs.physics_exam.contacts import collision, solidity, support
from wmplan.envs.physics_exam.paths import continuity, gravity, inertia
from wmplan.envs.physics_exam.stage import Film, Stage
from wmplan.envs.physics_exam.world import FPS, FRAMES, Draft, Object
from wmplan.errors import UserError
from wmplan.exam.quadruplet import Quadruplet
from wmplan.settings.suggest import did_you_mean

DRAFTS: dict[str, tuple[Callable[[np.random.Generator, bool], Draft], str]] = {
    "permanence": (permanence, "the object's radius in m"),
    "continuity": (continuity, "the jump in m"),
    "shape": (shape, "the part of the outlines that differs"),
    "colour": (colour, "the hues' distance in turns of the colour circle"),
    "solidity": (solidity, "the wall's thickness in m"),
    "support": (support, "the platform's thickness in m"),
    "gravity": (gravity, "the speed that comes or goes in m/s"),
    "inertia": (inertia, "the turn in degrees"),
    "collision": (collision, "the speed of the impact in m/s"),
}
ATTEMPTS = 50
SEEN = 8
"""Pixels in which A and B have to differ at some time before the break, and at some time after it."""
MISSED = 0.05
"""Metres by which an object may be elsewhere at the break than it was drawn."""
LEVELS = 12
"""Grey levels by which a pixel has to differ to count."""


class Scenes:
    """Quadruplets of MuJoCo scenes; every second one is occluded.

    Args:
        image_size: (height, width) of the frames in pixels.
    """

    length, rate, action_dim = FRAMES, float(FPS), 0

    def __init__(self, image_size: tuple[int, int] = (64, 64)) -> None:
        self.stage = Stage(image_size)

    @property
    def properties(self) -> Mapping[str, str]:
        return {name: unit for name, (_, unit) in DRAFTS.items()}

    def quadruplet(self, name: str, index: int, rng: np.random.Generator) -> Quadruplet:
        """The quadruplet that the generator draws, occluded where the index is even.

        Raises:
            UserError: if there is no such property.
        """
        if name not in DRAFTS:
            raise UserError(f"there is no property {name!r}; {did_you_mean(name, DRAFTS)}")
        make, occluded = DRAFTS[name][0], index % 2 == 0
        for _ in range(ATTEMPTS):
            draft = make(rng, occluded)
            films = [self._film(draft, world) for world in (draft.first, draft.second)]
            if self._arrives(draft, films) and _shows(draft, films, occluded):
                return self._quadruplet(name, index, occluded, draft, films)
        raise RuntimeError(f"{name} {index}: none of {ATTEMPTS} drafts shows what it should")

    def predict(self, quadruplet: Quadruplet, world: int, frame: int) -> NDArray[np.float64]:
        """States (T - frame, N) that the simulator goes on to from a world's state at `frame`."""
        return self.stage.predict(quadruplet.origin.setting, quadruplet.states[world, frame], frame)

    def close(self) -> None:
        self.stage.close()

    def _arrives(self, draft: Draft, films: list[Film]) -> bool:
        """Whether each world is at the break where it was drawn; one that begins amid a bounce may miss it."""
        for film, objects in zip(films, (draft.first, draft.second), strict=True):
            positions, _ = self.stage.motion(film.states[draft.break_at])
            if any(np.abs(positions[i] - one.position).max() > MISSED for i, one in enumerate(objects)):
                return False
        return True

    def _film(self, draft: Draft, objects: tuple[Object, ...]) -> Film:
        start = self.stage.rewind(draft.setting, objects, draft.break_at)
        return self.stage.film(draft.setting, start)

    def _quadruplet(self, name: str, index: int, occluded: bool, draft: Draft, films: list[Film]) -> Quadruplet:
        first, second = films
        begin = draft.break_at
        changed = self.stage.film_on(draft.setting, first.states[begin], begin, draft.fade)
        return Quadruplet(
            violates=name,
            index=index,
            occluded=occluded,
            break_at=begin,
            severity=draft.severity,
            frames=np.stack([first.frames, second.frames]),
            recoloured=np.concatenate([first.frames[:begin], changed.frames]),
            states=np.stack([first.states, second.states]),
            origin=draft,
        )


def _shows(draft: Draft, films: list[Film], occluded: bool) -> bool:
    """Whether A and B can be told apart before the break and after it, and under an occluder not at it."""
    first, second = (film.frames.astype(np.int16) for film in films)
    apart = np.abs(first - second).max(-1)  # (T, H, W)
    pixels = (apart > LEVELS).sum((1, 2))
    hidden = not occluded or not apart[draft.break_at].any()
    return hidden and pixels[: draft.break_at].max() >= SEEN and pixels[draft.break_at :].max() >= SEEN
