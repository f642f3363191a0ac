"""What suites on MuJoCo have in common: their full states, and frames of one camera that is made when it is needed."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from wmplan.environment import Array
from wmplan.envs.suites.environment import SuiteEnvironment

if TYPE_CHECKING:
    import numpy as np

    from wmplan.envs.suites.mujoco_suite import SuiteState
    from wmplan.gym.mujoco_camera import ModelCamera


class MujocoSuiteEnvironment(SuiteEnvironment):
    """A suite's task that MuJoCo moves.

    Attributes:
        full: all that decides how it goes on; a subclass sets it.
    """

    full: SuiteState
    _camera: ModelCamera | None = None

    @abstractmethod
    def make_camera(self) -> ModelCamera:
        """The camera that shows the task; markers of the suite's own goal are hidden from it."""

    def get_state(self) -> Array:
        return self.full.get()

    def set_state(self, state: Array) -> None:
        self.full.set(state)

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        if self._camera is None:
            self._camera = self.make_camera()
        return self._camera.draw(self.full.data, size or self.image_size)

    def close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None
