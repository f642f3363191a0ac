"""What every world model here is: an encoder of frames and an action-conditioned predictor, with one set of shapes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.planning.action_kinds import check_kinds, check_measured, kept_by
from wmplan.settings.build import convert_fields
from wmplan.settings.dtypes import dtype_name

if TYPE_CHECKING:
    from wmplan.planning.constraints import Projection

MOST_STEPS, MOST_PIXELS, MOST_LATENT = 10_000, 4096, 2**28
"""Of a history or a block, of a side of a frame, and numbers in a latent: far more than anything that plans in time."""
ACTIVATIONS = 16
"""Working memory of a rollout in multiples of the predicted latents, as a guess for models that do not say."""
Frames = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class ModelSpec:
    """What a model expects and gives; everything is in the robot's own units.

    Attributes:
        image_size: (height, width) of the frames in pixels.
        history: context frames the predictor was trained with, one model step apart.
        action_block: robot steps in one model step.
        action_low, action_high: bounds of one robot step's action, of length action_dim.
        action_mean, action_std: normaliser of one robot step's action, of length action_dim.
        action_kinds: what each of its numbers is, see wmplan.planning.action_kinds; empty where that is not said.
        action_measured: which number of the robot's state measures each of its numbers, None where none does; empty
            where that is not known.
        latent_shape: shape of one frame's latent.
        proprio_dim: numbers of robot state beside each frame, 0 for none. They are the last entries of a flat
            latent, standardised by proprio_mean and proprio_std.
        control_rate: robot steps in a second.
        cameras: names of the frames, when there are several; their order is the order of encoding.
    """

    image_size: tuple[int, int]
    history: int
    action_block: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_mean: tuple[float, ...]
    action_std: tuple[float, ...]
    latent_shape: tuple[int, ...]
    proprio_dim: int = 0
    proprio_mean: tuple[float, ...] = ()
    proprio_std: tuple[float, ...] = ()
    control_rate: float = 10.0
    cameras: tuple[str, ...] = ("pixels",)
    action_kinds: tuple[str, ...] = ()
    action_measured: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        convert_fields(self)
        for name in ("history", "action_block"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
            if getattr(self, name) > MOST_STEPS:
                raise UserError(f"{name} must be at most {MOST_STEPS}, got {getattr(self, name)}")
        if not all(1 <= side <= MOST_PIXELS for side in self.image_size):
            raise UserError(f"image_size must be two numbers from 1 to {MOST_PIXELS}, got {list(self.image_size)}")
        if any(size < 1 for size in self.latent_shape) or math.prod(self.latent_shape) > MOST_LATENT:
            shape = list(self.latent_shape)
            raise UserError(f"latent_shape must have sizes of at least 1, {MOST_LATENT} numbers in all, got {shape}")
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise UserError(f"cameras must be at least one name, and no name twice, got {list(self.cameras)}")
        for name in ("action_low", "action_high", "action_mean", "action_std", "proprio_mean", "proprio_std"):
            if not all(map(math.isfinite, getattr(self, name))):
                raise UserError(f"{name} must be finite numbers, got {list(getattr(self, name))}")
        for name in ("action_high", "action_mean", "action_std"):
            if len(getattr(self, name)) != len(self.action_low):
                given, wanted = len(getattr(self, name)), len(self.action_low)
                raise UserError(f"{name} has {given} entries, action_low has {wanted}")
        if self.action_kinds:
            check_kinds(self.action_kinds, len(self.action_low))
        if self.action_measured:
            check_measured(self.action_measured, len(self.action_low), self.proprio_dim)
        for name in ("proprio_mean", "proprio_std"):
            if len(getattr(self, name)) != self.proprio_dim:
                raise UserError(f"{name} has {len(getattr(self, name))} entries, proprio_dim is {self.proprio_dim}")
        if any(low > high for low, high in zip(self.action_low, self.action_high, strict=True)):
            raise UserError("action_low is above action_high in some dimension")
        if min(self.action_std, default=1.0) <= 0 or min(self.proprio_std, default=1.0) <= 0:
            raise UserError("action_std and proprio_std must be above zero")
        if not 0 < self.control_rate < math.inf:
            raise UserError(f"control_rate must be above zero, got {self.control_rate}")

    @property
    def action_dim(self) -> int:
        """Numbers in one robot step's action."""
        return len(self.action_low)

    @property
    def block_dim(self) -> int:
        """A, the numbers in one model step's action: action_block robot steps, oldest first."""
        return self.action_block * self.action_dim

    @property
    def neutral_action(self) -> tuple[float, ...]:
        """Where a search begins that knows no better, one robot step (a,).

        Zero, but of positions and rotations the mean of the data, and of a gripper the lower of its values.
        """
        kinds = self.action_kinds or ("",) * self.action_dim
        found = []
        for kind, mean, low, high in zip(kinds, self.action_mean, self.action_low, self.action_high, strict=True):
            still = low if kind == "gripper" else mean if kind in ("absolute", "rotation_6d") else 0.0
            found.append(min(max(still, low), high))
        return tuple(found)

    def block_bounds(self) -> tuple[Tensor, Tensor]:
        """Bounds of one model step's action: two float32 tensors of shape (A,)."""
        low, high = torch.tensor(self.action_low), torch.tensor(self.action_high)
        return low.repeat(self.action_block), high.repeat(self.action_block)


class WorldModel(nn.Module, ABC):
    """Encodes camera frames and predicts latents under actions. It knows nothing of planners or environments.

    Attributes:
        spec: what it expects and gives.
        card: what its checkpoint says of it (name, task, data, figures, the planning it was measured with).
        whitening: W of shape (L, L), for the cost ||W (z - g)||^2 of flat latents; None for a model without it.
        error_scale: standard deviation of the one-step prediction error, of shape *latent, or None: what surprise and
            the correction of predictions are measured in.
        critic: latents and goals (..., *latent) to steps between them (...), or None.
        decoder: latents (N, *latent) to frames (N, H, W, 3) from 0 to 1, or None; for people, planning needs none.

    A subclass has to define encode() and rollout(). It may set the attributes above, and override the methods and
    properties below them; each says what its absence costs.
    """

    spec: ModelSpec
    card: Mapping[str, Any] = {}
    whitening: Tensor | None
    error_scale: Tensor | None
    critic: nn.Module | None
    decoder: nn.Module | None

    def __init__(self) -> None:
        super().__init__()
        for name in ("whitening", "error_scale"):
            self.register_buffer(name, None)
        self.critic = self.decoder = None

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU for a model without any."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    @property
    def computes_in(self) -> torch.dtype:
        """The type that rollouts multiply in, see compute_in()."""
        return torch.float32

    def compute_in(self, dtype: torch.dtype) -> None:
        """Have rollouts multiply in float32 or bfloat16. Latents are float32 all the same, and so are costs.

        Weights that were rounded may stay so: what asks for bfloat16 and then for float32 loads the model anew.

        Raises:
            UserError: if the model has no such products.
        """
        if dtype != self.computes_in:
            raise UserError(
                f"a {type(self).__name__} computes in {dtype_name(self.computes_in)} alone, not in {dtype_name(dtype)}"
            )

    @property
    def architecture(self) -> dict[str, Any]:
        """What a checkpoint says of how this model is built: `kind` and its settings, as JSON has it."""
        raise NotImplementedError(f"a {type(self).__name__} has no form of ours to be saved in")

    @abstractmethod
    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        """Latents of frames.

        Args:
            frames: uint8 RGB, of shape (B, T, H, W, 3), or a mapping from camera name to such a tensor.
            proprio: robot state in its own units, of shape (B, T, proprio_dim). Left out, a model that uses it
                fills in what it reads off the frames: a goal may be no more than an image.

        Returns:
            Latents, of shape (B, T, *latent).

        Raises:
            ValueError: at a wrong shape or type, or numbers that are not finite.
        """

    def encode_composed(self, frames: Frames, parts: Sequence[Frames], proprio: Tensor | None = None) -> Tensor:
        """As encode(), of frames that were put together from `parts`, whole frames of the same shapes.

        Put together, a frame may look like no world at all. A model with encoders for several looks chooses among them
        by the parts; here there is one.
        """
        return self.encode(frames, proprio)

    @abstractmethod
    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        """Predicted latents under candidate action sequences.

        Args:
            context: latents of the last T frames one model step apart, newest last, of shape (B, T, *latent) with
                1 <= T <= history. A shorter context stands for a robot that stood still before.
            actions: candidates in the robot's units, of shape (B, S, H, A).
            past_actions: what was executed between the context frames, of shape (B, T - 1, A); needed when T > 1.

        Returns:
            Latents after each model step, of shape (B, S, H, *latent).
        """

    # ------------------------------------------------------------------ what a model may offer beside

    def rollout_last(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        """The last of what rollout() predicts, (B, S, 1, *latent); a model that need not hold the rest overrides it."""
        return self.rollout(context, actions, past_actions)[:, :, -1:]

    @property
    def reads_robot_steps(self) -> bool:
        """Whether rollout_at() can read between model steps; without it plans end at model steps."""
        return False

    def rollout_at(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None, robot_steps: Sequence[int]
    ) -> Tensor:
        """As rollout(), after some numbers of robot steps, rising: (B, S, len(robot_steps), *latent).

        Raises:
            UserError: if the model moves by whole model steps.
        """
        raise UserError(f"a {type(self).__name__} is not read between model steps")

    @property
    def most_frames(self) -> int | None:
        """Frames that a context and what is predicted from it make together, at most; None for any number."""
        return None

    def rollout_bytes(self, horizon: int) -> int:
        """Working memory of one candidate's rollout, by which candidates are rolled out in chunks; here a guess."""
        return 4 * horizon * math.prod(self.spec.latent_shape) * ACTIVATIONS

    @property
    def reads_proprio(self) -> bool:
        """Whether read_proprio() is there: a goal may then be an image alone, and objectives may ask what is seen."""
        return False

    @property
    def proprio_units(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation (P,), in the robot's units, of the standardised state that flat latents end with.

        None where they end with none, or with what a network makes of it.
        """
        return None

    def read_proprio(self, latents: Tensor) -> Tensor:
        """The standardised robot state (..., P) that the frames behind latents (..., *latent) show.

        Raises:
            UserError: if the model has no such head.
        """
        raise UserError(f"a {type(self).__name__} reads no robot state off its frames")

    @property
    def reads_state(self) -> bool:
        """Whether read_state() is there, by which encode() fills in the robot state of goals."""
        return False

    def read_state(self, frames: Frames) -> Tensor:
        """The standardised robot state (B, T, P) that frames show, by a network for nothing else.

        Raises:
            UserError: if the model has none.
        """
        raise UserError(f"a {type(self).__name__} has no reader of the robot's state")

    @property
    def places_robot(self) -> bool:
        """Whether with_robot_at() is there, by which goals can ask nothing of the robot."""
        return False

    def with_robot_at(self, latents: Tensor, state: Tensor) -> Tensor:
        """The latents (..., L) that these would be with the robot in standardised states (..., P), all else as it is.

        Raises:
            UserError: if the model has no network for it.
        """
        raise UserError(f"a {type(self).__name__} does not know what its latents are with the robot elsewhere")

    @property
    def state_entries(self) -> Tensor:
        """Which numbers along a latent's last axis are of the robot's own state, which frames need not show.

        (L,) of true and false; here the last P.
        """
        length = self.spec.latent_shape[-1]
        return torch.arange(length, device=self.device) >= length - self.spec.proprio_dim

    @property
    def robot_entries(self) -> Tensor:
        """Which of a flat latent's L numbers are of the robot alone, (L,) of true and false.

        A goal that shows the robot nowhere in particular is compared without them; here those of the robot's state.
        """
        return self.state_entries

    @property
    def projections(self) -> Sequence[Projection]:
        """What every plan is moved to keep beside the bounds; here what the kinds of its actions ask."""
        spec = self.spec
        return kept_by(spec.action_kinds, spec.action_low, spec.action_high)

    def native_objective(self, *args: Any, **settings: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
        """The cost that the model's paper plans with, None for a model that brings none of its own."""
        return None

    def check_frames(self, frames: Tensor) -> None:
        """Raise a ValueError that says what is wrong with `frames`, if anything is."""
        height, width = self.spec.image_size
        if frames.dtype != torch.uint8:
            raise UserError(f"frames must be uint8 RGB, got {str(frames.dtype).removeprefix('torch.')}")
        if frames.ndim != 5 or tuple(frames.shape[2:]) != (height, width, 3):
            raise UserError(f"frames have shape {tuple(frames.shape)}, the model takes (B, T, {height}, {width}, 3)")

    def check_proprio(self, proprio: Tensor, batch: int, time: int) -> None:
        """Raise a ValueError that says what is wrong with `proprio`, if anything is."""
        wanted = (batch, time, self.spec.proprio_dim)
        if tuple(proprio.shape) != wanted:
            raise UserError(f"beside these frames proprio must have shape {wanted}, got {tuple(proprio.shape)}")
        if not torch.isfinite(proprio).all():
            raise UserError("proprio holds numbers that are not finite")

    def check_rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None) -> None:
        """Raise a ValueError that says what is wrong with the arguments of rollout(), if anything is."""
        spec, (batch, time) = self.spec, context.shape[:2]
        if tuple(context.shape[2:]) != spec.latent_shape or not 1 <= time <= spec.history:
            wanted = ", ".join(["B", "T", *map(str, spec.latent_shape)])
            raise UserError(
                f"context must have shape ({wanted}) with T from 1 to {spec.history}, got {tuple(context.shape)}"
            )
        if actions.ndim != 4 or actions.shape[0] != batch or actions.shape[3] != spec.block_dim:
            wanted = f"({batch}, S, H, {spec.block_dim})"
            raise UserError(f"actions must have shape {wanted}, got {tuple(actions.shape)}")
        if time > 1 and (past_actions is None or tuple(past_actions.shape) != (batch, time - 1, spec.block_dim)):
            given = "missing" if past_actions is None else f"of shape {tuple(past_actions.shape)}"
            raise UserError(f"past_actions must be ({batch}, {time - 1}, {spec.block_dim}), got {given}")
