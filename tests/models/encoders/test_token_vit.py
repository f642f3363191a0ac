"""The transformer over tubelets: which pixels a token is of, and that what is left out is not seen."""

import pytest
import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.models.encoders.token_vit import TokenViT


def make(frames: int = 4, **options: int) -> TokenViT:
    torch.manual_seed(0)
    return TokenViT((16, 24), frames, **({"tubelet": 2, "width": 24, "depth": 2, "heads": 2} | options)).eval()


def clips(frames: int = 4, count: int = 2) -> Tensor:
    return torch.randint(256, (count, frames, 16, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_a_token_is_of_its_tubelet() -> None:
    vit, before = make(), clips()
    assert vit.grid == (2, 2, 3)
    for frame, row, column in [(0, 0, 0), (1, 15, 23), (3, 7, 8), (2, 8, 16)]:
        after = before.clone()
        after[0, frame, row, column] ^= 255
        changed = (vit.tubelets(before) != vit.tubelets(after)).any(-1).nonzero().tolist()
        assert changed == [[0, (frame // 2) * 6 + (row // 8) * 3 + column // 8]]


def test_what_is_left_out_is_not_seen() -> None:
    vit, seen = make(), torch.tensor([[0, 4, 7], [1, 2, 11]])
    one, other = clips(), clips()
    hidden = ~torch.nn.functional.one_hot(seen, 12).any(1)
    assert hidden.sum() == 18
    other[0, :2, 8:, 16:] = 0  # token 5 of the first clip
    torch.testing.assert_close(vit(one, seen), vit(other, seen))
    assert not torch.allclose(vit(one), vit(other))


def test_the_order_of_tokens_is_no_matter() -> None:
    vit = make()
    order = torch.stack([torch.randperm(12, generator=torch.Generator().manual_seed(row)) for row in range(2)])
    torch.testing.assert_close(
        vit(clips(), order), vit(clips()).gather(1, order[..., None].expand(-1, -1, 24)), rtol=1e-4, atol=1e-5
    )


def test_the_same_patch_elsewhere_is_another_token() -> None:
    tokens = make()(torch.full((1, 4, 16, 24, 3), 77, dtype=torch.uint8))[0]
    assert torch.pdist(tokens[:6]).min() > 1e-3


def test_a_clip_may_be_shorter_and_its_last_frame_stands_still() -> None:
    vit = make()
    still = clips(1)
    torch.testing.assert_close(vit(still), vit(still.expand(-1, 2, -1, -1, -1)))
    assert vit(still).shape == (2, 6, 24)
    torch.testing.assert_close(make(3)(clips(3)), make(4)(torch.cat([clips(3), clips(3)[:, -1:]], 1)))


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="patch is 7, it has to divide both sides of the image, 16 x 24"):
        make(patch=7)
    with pytest.raises(UserError, match="vit: depth must be at least 1"):
        make(depth=0)
    with pytest.raises(UserError, match="heads is 5, it has to divide the width, 24"):
        make(heads=5)
