"""Where a model lies in a training checkpoint, and what files beside it may say."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from wmplan import cli
from wmplan.errors import UserError
from wmplan.models import CheckpointError, load
from wmplan.models.released import import_checkpoint
from wmplan.models.released.families import FAMILIES
from wmplan.models.released.release import open_release

OPTIONS = {"action_low": [-1, -1], "action_high": [1, 1], "control_rate": 10, "statistics": "pusht"}
WRAP = ["module.", "_orig_mod.", "_fsdp_wrapped_module."]
KEYS = ["state_dict", "model", "model_state_dict", "ema", "net", "teacher"]


def quietly_load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path, "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release")


@given(
    keys=st.lists(st.sampled_from(KEYS), max_size=3),
    attribute=st.sampled_from(["", "model.", "net.model."]),
    wrapper=st.sampled_from(["", *WRAP, "module._orig_mod.", "_orig_mod.module."]),
    inside=st.sampled_from(["", *WRAP]),
    kind=st.sampled_from([".pt", ".ckpt", ".safetensors"]),
)
@settings(max_examples=40, deadline=None)
def test_wrapped_weights_load_bit_for_bit(
    parity: Any, folder: Path, keys: list[str], attribute: str, wrapper: str, inside: str, kind: str
) -> None:
    """Under keys, an attribute, and wrappers around the model and around its predictor, with what a trainer adds."""
    reference = parity("lewm")
    named = {
        attribute + wrapper + name.replace("predictor.", f"predictor.{inside}", 1): tensor
        for name, tensor in reference.weights.items()
    }
    content: dict[str, Any] = OrderedDict(named)
    for key in reversed(keys):
        content = {key: content}
    file = folder / f"weights{kind}"
    if kind == ".safetensors":
        prefix = "".join(f"{key}." for key in keys)
        save_file({prefix + name: tensor for name, tensor in named.items()}, file)
    else:
        extra = {
            "epoch": 3,
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
            "n_averaged": torch.ones(1),
        }
        torch.save(content | extra | {"lr_schedulers": [], "callbacks": {"x": None}}, file)
    release = open_release(file)
    file.unlink()
    assert release is not None and release.kind == "lewm"
    assert release.tensors.keys() == reference.weights.keys()
    for name, tensor in reference.weights.items():
        assert torch.equal(release.tensors[name], tensor)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_loads_from_a_trainers_checkpoint(parity: Any, tmp_path: Path, name: str) -> None:
    reference = parity(name)
    weights = {f"model._orig_mod.{key}": tensor for key, tensor in reference.weights.items()}
    torch.save({"state_dict": weights, "global_step": 10}, tmp_path / "last.ckpt")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": reference.architecture}))
    for path in (tmp_path, tmp_path / "last.ckpt"):
        model = quietly_load(path)
        assert isinstance(model, FAMILIES[name])
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, reference.weights[key])


@pytest.mark.parametrize("second", ["ema", "state_dict_ema", "averaging.model"])
def test_two_models_in_a_file_are_named_and_one_is_chosen(parity: Any, tmp_path: Path, second: str) -> None:
    reference = parity("lewm")
    content: dict[str, Any] = {"state_dict": reference.weights}
    other: Any = {name: tensor + 1 for name, tensor in reference.weights.items()}
    for key in reversed(second.split(".")):
        other = {key: other}
    torch.save(content | other, tmp_path / "both.ckpt")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": reference.architecture}))
    with pytest.raises(
        CheckpointError, match=f"both.ckpt holds several models, under state_dict, {second}: choose one"
    ):
        load(tmp_path / "both.ckpt")
    for prefix, added in (("state_dict", 0), (second, 1)):
        out = import_checkpoint(tmp_path / "both.ckpt", tmp_path / prefix, {**OPTIONS, "prefix": prefix})
        for name, tensor in load(out, "cpu").state_dict().items():
            assert torch.equal(tensor, reference.weights[name] + added)
    with pytest.raises(UserError, match=f"no model under prefix=emma, there is one under state_dict, {second}"):
        import_checkpoint(tmp_path / "both.ckpt", tmp_path / "out", {**OPTIONS, "prefix": "emma"})


def test_the_command_line_takes_a_prefix(parity: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = parity("lewm")
    torch.save({**reference.weights, "ema": reference.weights}, tmp_path / "both.pt")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": reference.architecture}))
    arguments = ["action_low=[-1,-1]", "action_high=[1,1]", "control_rate=10", "statistics=pusht"]
    command = ["import", str(tmp_path / "both.pt"), f"out={tmp_path / 'out'}", *arguments]
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "holds several models, under ., ema" in error
    for prefix in ("ema", "."):
        assert cli.main([*command, f"prefix={prefix}"]) == 0


def test_one_tensor_under_two_names_is_refused(parity: Any, tmp_path: Path) -> None:
    weights = parity("lewm").weights
    name = "predictor.pos_embedding"
    torch.save({**weights, f"module.{name}": weights[name]}, tmp_path / "twice.pt")
    with pytest.raises(CheckpointError, match=f"twice.pt holds {name} twice, with and without a wrapper"):
        load(tmp_path / "twice.pt")
    torch.save({**weights, "predictor": {"pos_embedding": weights[name]}}, tmp_path / "nested.pt")
    with pytest.raises(CheckpointError, match=f"nested.pt cannot be read: two tensors in it are called {name}"):
        load(tmp_path / "nested.pt")
    dino = parity("dino_wm").weights
    extra = {"extra_encoders.action.patch_embed.bias": dino["action_encoder.patch_embed.bias"]}
    torch.save({**dino, **extra}, tmp_path / "versions.pt")
    with pytest.raises(CheckpointError, match=r"versions.pt holds a tensor twice"):
        load(tmp_path / "versions.pt")


@pytest.mark.parametrize("kind", [".pt", ".safetensors"])
def test_weights_of_no_family_are_described(tmp_path: Path, kind: str) -> None:
    tensors = {f"layers.{i}.weight": torch.ones(2) for i in range(5)}
    if kind == ".pt":
        torch.save({"state_dict": tensors}, tmp_path / "other.pt")
    else:
        save_file(tensors, tmp_path / "other.safetensors")
    for path in (tmp_path / f"other{kind}", tmp_path):
        with pytest.raises(
            CheckpointError, match=f"other{kind} is a .* of no model that wmplan knows; it holds 5 tensors"
        ):
            load(path)


# ------------------------------------------------------------------ files beside the weights

MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("hydra.yaml", "[" * 30_000, "hydra.yaml is not valid YAML"),
        ("hydra.yaml", "a: [1\nb: 2", "hydra.yaml is not valid YAML"),
        ("hydra.yaml", "x" * 100_000, "hydra.yaml must have at most 65536 bytes"),
        ("hydra.yaml", "? [a]\n: 1", "hydra.yaml is not valid YAML"),
        ("hydra.yaml", "num_hist: 99999999\n", "dino_wm"),
        ("config.json", '{"num_hist": NaN}', "config.json is not valid JSON"),
        ("config.json", "[" * 30_000, "config.json must have at most 64 levels"),
        ("config.json", '{"architecture": {"num_hist": 1000000, "num_patches": 1000000}}', "dino_wm"),
        ("config.json", '{"architecture": {"num_hist": -1}}', "'num_hist' must be a whole number from 1"),
        ("config.json", '{"architecture": {"num_hist": 1e30}}', "'num_hist' must be a whole number from 1"),
        ("config.json", '{"architecture": {"predictor": {"depth": 1000000}}}', "dino_wm"),
        ("config.json", '{"architecture": {"predictor": {"heads": "many"}}}', "'predictor.heads' must be a whole"),
        ("config.json", '{"architecture": {"predictor": 5}}', "the architecture lacks the field 'predictor"),
        (
            "config.json",
            '{"architecture": {"action_dim": 1000000}}',
            "'action_dim' must be a whole number from 1",
        ),
    ],
)
def test_sizes_beside_that_make_no_sense_get_one_line(
    parity: Any, tmp_path: Path, name: str, content: str, message: str
) -> None:
    torch.save(parity("dino_wm").weights, tmp_path / "dino_wm.pth")
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=message) as raised:
        quietly_load(tmp_path / "dino_wm.pth")
    assert str(raised.value).isprintable() and str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("bomb", [MERGES, ALIASES])
def test_yaml_that_multiplies_itself_is_read_in_no_time(parity: Any, tmp_path: Path, bomb: str) -> None:
    reference = parity("dino_wm")
    torch.save(reference.weights, tmp_path / "dino_wm.pth")
    sizes = {"num_patches": 16, "encoder_image_size": 196, "predictor": {"heads": 4, "dim_head": 16}}
    (tmp_path / "hydra.yaml").write_text(bomb + "num_hist: 2\nimg_size: 99\n")
    release = open_release(tmp_path / "dino_wm.pth", sizes)
    assert release is not None and release.architecture["num_hist"] == 2 and release.architecture["image_size"] == 99


@pytest.mark.parametrize("content", ["[1, 2]", '{"architecture": 5}', '{"a": 1, "a": 2}', "nonsense", None])
def test_an_architecture_file_that_is_none(parity: Any, tmp_path: Path, content: str | None) -> None:
    torch.save(parity("lewm").weights, tmp_path / "weights.pt")
    file = tmp_path / "sizes"
    if content is None:
        file = Path("/dev/zero")
    else:
        file.write_text(content)
    with pytest.raises(UserError, match=f"architecture={file}") as raised:
        import_checkpoint(tmp_path / "weights.pt", tmp_path / "out", {**OPTIONS, "architecture": str(file)})
    assert str(raised.value).isprintable()


def test_a_damaged_model_of_ours_is_not_imported_either(parity: Any, tmp_path: Path) -> None:
    torch.save(parity("lewm").weights, tmp_path / "weights.pt")
    options = {**OPTIONS, "architecture": parity("lewm").architecture}
    ours = import_checkpoint(tmp_path / "weights.pt", tmp_path / "ours", options)
    assert import_checkpoint(ours, tmp_path / "again", options)
    content = bytearray((ours / "weights.safetensors").read_bytes())
    content[-100] ^= 4
    (ours / "weights.safetensors").write_bytes(content)
    for path in (ours, ours / "weights.safetensors"):
        with pytest.raises(CheckpointError, match="damaged"):
            import_checkpoint(path, tmp_path / "out", options)
