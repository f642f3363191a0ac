"""The transformer as an encoder of frames."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.models.encoders import TokenEncoder, make_encoder

SIZES = {"width": 24, "depth": 1, "heads": 2, "tubelet": 2}


def frames(count: int = 3) -> Tensor:
    return torch.randint(256, (count, 16, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make(**options: object) -> TokenEncoder:
    torch.manual_seed(0)
    encoder = make_encoder("token_vit", (16, 32), 5, **SIZES, **options)
    assert isinstance(encoder, TokenEncoder)
    return encoder.eval()


@torch.no_grad()
def test_what_the_latent_is_of() -> None:
    tokens = make().vit(frames().unsqueeze(1))  # (3, 8, 24)
    assert make()(frames()).shape == (3, 5)
    torch.testing.assert_close(make().features(frames()), tokens.flatten(1))
    torch.testing.assert_close(make(pool="mean").features(frames()), tokens.mean(1))
    grid = tokens.reshape(3, 2, 2, 2, 24).mean(3).reshape(3, -1)  # two rows; two columns of two
    torch.testing.assert_close(make(pool="grid", grid=2).features(frames()), grid)


def test_the_head_gives_principal_components() -> None:
    encoder = make()
    features = torch.randn(40, 192, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, 192)
    encoder.set_head(features)
    latents = encoder.head(features).detach().double().numpy()
    values = np.linalg.svd(features.double().numpy() - features.double().numpy().mean(0), compute_uv=False)[:5]
    np.testing.assert_allclose(latents.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(latents.T @ latents, np.diag(values**2), rtol=1e-3, atol=1e-2)


def test_what_does_not_fit() -> None:
    with pytest.raises(UserError, match="grid must be from 1 to 2 with 2 x 4 tokens, got 3"):
        make(pool="grid", grid=3)
    with pytest.raises(UserError, match="latent_dim must be at most 4, what 5 frames tell apart, got 5"):
        make().set_head(torch.randn(5, 192))
