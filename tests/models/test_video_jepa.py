"""Models without actions, on disk and off."""

from pathlib import Path

import pytest
import torch

import wmplan
from wmplan.errors import UserError
from wmplan.models import CheckpointError, VideoJEPA, load_pretrained, save
from wmplan.models.video_jepa import ClipSpec, ViTConfig, pooled

SIZES = ViTConfig(tubelet=2, width=24, depth=1, heads=2, predictor_width=12, predictor_depth=1, predictor_heads=2)


def make(**options: int) -> VideoJEPA:
    torch.manual_seed(0)
    return VideoJEPA(ClipSpec((16, 24), 4, 2, 10.0), SIZES, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"target": True}, {"target": False, "projection": 5}])
def test_what_is_written_is_read_again(tmp_path: Path, options: dict[str, int]) -> None:
    model = make(**options)
    if model.target is not None:
        with torch.no_grad():
            model.target.norm.weight.mul_(3)  # the one that is used
    save(model, tmp_path / "model", {"name": "mine"})
    (tmp_path / "train.json").write_text("{}")
    clips = torch.randint(256, (2, 4, 16, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for path in (tmp_path, tmp_path / "model", tmp_path / "model" / "weights.safetensors"):
        again = load_pretrained(path, "cpu")
        assert (again.spec, again.architecture, again.card["name"]) == (model.spec, model.architecture, "mine")
        torch.testing.assert_close(again.tokens(clips), model.tokens(clips))
    assert model.tokens(clips).shape == (2, 2, 2, 3, 24)


def test_either_kind_of_model_says_that_it_is_not_the_other(tmp_path: Path) -> None:
    save(make(), tmp_path, {})
    with pytest.raises(CheckpointError, match="pretrained without actions, which nothing can be planned with"):
        wmplan.load(tmp_path)
    with pytest.raises(CheckpointError, match="holds no encoder that wmplan pretrain wrote"):
        load_pretrained("pusht")


def test_the_predictor_knows_places_and_the_seen_alone() -> None:
    model = make()
    context = torch.randn(1, 3, 24, generator=torch.Generator().manual_seed(0))
    seen, hidden = torch.tensor([[0, 4, 11]]), torch.tensor([[2, 7]])
    told = model.predictor(context, seen, hidden)
    torch.testing.assert_close(model.predictor(context, seen, hidden.flip(1)), told.flip(1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(told[:, 0], told[:, 1])
    assert not torch.allclose(model.predictor(context.flip(1), seen, hidden), told)


def test_pooling_is_the_mean_of_each_part() -> None:
    tokens = torch.arange(2 * 4 * 6 * 2.0).reshape(1, 2, 4, 6, 2)
    parts = pooled(tokens, 2).reshape(4, 2)
    torch.testing.assert_close(parts[1], tokens[0, :, :2, 3:].mean((0, 1, 2)))
    torch.testing.assert_close(parts[2], tokens[0, :, 2:, :3].mean((0, 1, 2)))
    assert pooled(tokens, 99).shape == (1, 48)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 100}, "vit.heads must divide vit.width, 100, got 3"),
        ({"predictor_width": 64}, "vit.predictor_heads must divide vit.predictor_width, 64, got 3"),
    ],
)
def test_heads_that_do_not_divide_the_width_are_named(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ViTConfig(**sizes)
