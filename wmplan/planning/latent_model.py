"""What planning asks of a world model; wmplan.models.WorldModel has it all, with defaults for what is optional."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from wmplan.planning.objectives.objective import ObjectiveFunction


class LatentSpec(Protocol):
    """The sizes of a model: see wmplan.models.ModelSpec."""

    @property
    def action_block(self) -> int: ...

    @property
    def latent_shape(self) -> tuple[int, ...]: ...

    @property
    def proprio_dim(self) -> int: ...

    @property
    def action_low(self) -> tuple[float, ...]: ...

    @property
    def action_high(self) -> tuple[float, ...]: ...


class LatentModel(Protocol):
    """Predicts latents under candidates, context (B, T, *latent) and actions (B, S, H, A) to (B, S, H, *latent)."""

    @property
    def spec(self) -> LatentSpec: ...

    @property
    def error_scale(self) -> Tensor | None:
        """Standard deviation of the one-step prediction error, of shape *latent, where it is known."""

    @property
    def reads_robot_steps(self) -> bool:
        """Whether rollout_at() can read between model steps."""

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor: ...

    def rollout_last(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        """The last of what rollout() predicts, (B, S, 1, *latent)."""

    def rollout_at(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, robot_steps: Sequence[int]
    ) -> Tensor:
        """Predictions after these numbers of robot steps, (B, S, len(robot_steps), *latent)."""

    def rollout_bytes(self, horizon: int) -> int:
        """Working memory of one candidate's rollout."""


class ObjectiveModel(Protocol):
    """What objectives are made from; each names the part that it misses."""

    @property
    def spec(self) -> LatentSpec: ...

    @property
    def whitening(self) -> Tensor | None:
        """(L, L), for the cost |W (z - g)|^2 of flat latents."""

    @property
    def critic(self) -> Any | None:
        """From latents and goals (..., L) to steps between them (...)."""

    @property
    def reads_proprio(self) -> bool:
        """Whether read_proprio() is there."""

    @property
    def proprio_units(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation (P,) of the robot state that flat latents end with; None where they do not."""

    def read_proprio(self, latents: Tensor) -> Tensor:
        """The robot state (..., P) that the frames behind latents (..., L) show."""

    def native_objective(self, *args: Any, **settings: Any) -> ObjectiveFunction | None:
        """The cost that the model's paper plans with."""
