"""Names as training tools leave them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wmplan.models.errors import CheckpointError
from wmplan.models.wrappers import WRAPPERS, find_prefix, under_prefix, unwrap

SIGNS = ("predictor.first.weight", "head.scale")
PARTS = st.lists(st.sampled_from(["encoder", "layers", "0", "weight", "module_list", "orig_mod"]), min_size=1)


@given(PARTS, st.data())
@settings(max_examples=60, deadline=None)
def test_wrappers_anywhere_but_at_the_end_are_left_out(parts: list[str], data: st.DataObject) -> None:
    wrapped = list(parts)
    for place in sorted(data.draw(st.lists(st.integers(0, len(parts) - 1))), reverse=True):
        wrapped.insert(place, data.draw(st.sampled_from(sorted(WRAPPERS))))
    assert unwrap([".".join(wrapped)], "x") == {".".join(parts): ".".join(wrapped)}


def test_the_names_that_torch_itself_makes() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.DataParallel(nn.Linear(2, 2)))
    for wrapped in (nn.DataParallel(model), torch.optim.swa_utils.AveragedModel(model)):
        names = unwrap(wrapped.state_dict(), "x")
        assert set(names) - {"n_averaged"} == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_two_names_that_become_one_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"file.pt holds a.weight twice, with and without a wrapper"):
        unwrap(["a.weight", "module.a.weight"], "file.pt")
    with pytest.raises(CheckpointError, match=r"file.pt holds a.weight twice"):
        under_prefix({"a.weight": "a.weight", "a.backbone.weight": "a.backbone.weight"}, "", "file.pt")


@given(st.lists(st.sampled_from(["state_dict", "model", "ema", "net"]), max_size=4), st.sampled_from(SIGNS))
@settings(max_examples=40, deadline=None)
def test_a_model_is_found_wherever_it_lies(keys: list[str], sign: str) -> None:
    prefix = "".join(f"{key}." for key in keys)
    names = {name: name for name in (f"{prefix}{sign}", f"{prefix}other", "optimizer.step", "predictor_first.weight")}
    assert find_prefix(names, SIGNS, None, "x") == prefix
    assert under_prefix(names, prefix, "x").items() >= {sign: f"{prefix}{sign}", "other": f"{prefix}other"}.items()


def test_no_model_is_none() -> None:
    assert find_prefix(["predictor.second.weight", "thehead.scale"], SIGNS, None, "x") is None


def test_several_models_are_named_and_one_can_be_chosen() -> None:
    names = [f"{prefix}{SIGNS[0]}" for prefix in ("", "ema.", "state_dict.model.")]
    with pytest.raises(CheckpointError, match=r"x.pt holds several models, under \., ema, state_dict\.model: choose"):
        find_prefix(names, SIGNS, None, "x.pt")
    assert find_prefix(names, SIGNS, "ema", "x.pt") == "ema."
    assert find_prefix(names, SIGNS, ".", "x.pt") == ""
    with pytest.raises(
        CheckpointError, match=r"no model under prefix=net, there is one under \., ema, state_dict.model"
    ):
        find_prefix(names, SIGNS, "net", "x.pt")
    with pytest.raises(CheckpointError, match=r"no model under prefix=net, there is none"):
        find_prefix([], SIGNS, "net", "x.pt")
