"""The largest difference between predicted and goal latents."""

import wmplan


@wmplan.register_objective("largest_difference")
class LargestDifference:
    """The largest difference between two latents.

    Args:
        power: of the difference.
    """

    last_only = True

    def __init__(self, model, *, power: float = 1.0):
        self.power = power

    def __call__(self, predicted, goal, actions):
        # (B, S, H, L), (B, L), (B, S, H, A) -> (B, S)
        return (predicted[:, :, -1] - goal[:, None]).abs().amax(-1) ** self.power
