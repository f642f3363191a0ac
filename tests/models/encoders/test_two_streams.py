import pytest
import torch

from wmplan.models import JEPA, JEPAConfig, ModelSpec
from wmplan.training.config import LossConfig
from wmplan.training.joint import Joint


def model(robot_dim: int, cameras: tuple[str, ...] = ("pixels",)) -> JEPA:
    spec = ModelSpec(
        cameras=cameras,
        image_size=(16, 16),
        action_low=(-1.0,),
        action_high=(1.0,),
        action_mean=(0.0,),
        action_std=(1.0,),
        action_block=2,
        history=1,
        latent_shape=((6 + robot_dim) * len(cameras) + 2,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(1.0, 1.0),
    )
    return JEPA(JEPAConfig(latent_dim=6, robot_dim=robot_dim, predictor_options={"width": 16, "depth": 1}), spec)


@pytest.mark.parametrize(
    ("robot_dim", "cameras", "robot"),
    [(0, ("pixels",), range(6)), (3, ("pixels",), [6, 7, 8]), (3, ("left", "right"), [6, 7, 8, 15, 16, 17])],
)
def test_the_robot_s_numbers_are_those_of_its_own_encoder(robot_dim, cameras, robot):
    jepa = model(robot_dim, cameras)
    assert jepa.robot.tolist() == list(robot)
    frames = torch.randint(0, 256, (2, 1, 16, 16, 3), dtype=torch.uint8)
    before = jepa.encode_visual(dict.fromkeys(cameras, frames))
    if not robot_dim:
        return
    with torch.no_grad():
        for encoder in jepa.encoder:
            encoder.robot.head[-1].bias.add_(1.0)
    moved = (jepa.encode_visual(dict.fromkeys(cameras, frames)) != before).any(0).any(0)
    assert moved.nonzero().flatten().tolist() == list(robot)


def test_what_tells_the_robot_asks_nothing_of_the_scene():
    """Inverse dynamics and proprioception reach the robot's encoder alone; without one they reach everything."""
    batch = {
        "pixels": torch.randint(0, 256, (4, 3, 16, 16, 3), dtype=torch.uint8),
        "action": torch.randn(4, 2, 2),
        "proprio": torch.randn(4, 3, 2),
    }
    only = LossConfig(prediction=0.0, contrastive=0.0, sigreg=0.0, variance=0.0, covariance=0.0)
    for robot_dim in (0, 3):
        jepa = model(robot_dim)
        Joint(jepa, only).loss(batch, torch.Generator().manual_seed(0))[0].backward()
        scene = jepa.encoder[0].scene if robot_dim else jepa.encoder[0]
        touched = any(p.grad is not None and bool(p.grad.any()) for p in scene.parameters())
        assert touched == (robot_dim == 0)
        if robot_dim:
            assert any(bool(p.grad.any()) for p in jepa.encoder[0].robot.parameters() if p.grad is not None)
