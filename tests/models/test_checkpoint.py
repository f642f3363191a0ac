import contextlib
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from wmplan.models import CheckpointError, load, loading, save, sha256, shipped_models
from wmplan.models.decoder import Decoder
from wmplan.models.predictors import MLPPredictor

CARD = {"name": "small", "task": "pusht", "seed": 3, "planning": {"planner": {"horizon": 5}}}


@pytest.fixture
def model(make_jepa):
    model = make_jepa(critic=True, decoder=True, critic_options={"width": 8, "embedding": 8})
    model.whitening.copy_(torch.diag(torch.linspace(1.0, 1e6, 8)))
    return model


@pytest.fixture
def folder(model, tmp_path):
    save(model, tmp_path / "small", CARD)
    return tmp_path / "small"


def test_round_trip_is_exact(model, folder, frames, tmp_path):
    loaded = load(folder, device="cpu")
    assert not loaded.training
    assert loaded.card == CARD
    assert loaded.spec == model.spec and loaded.architecture == model.architecture
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    with torch.no_grad():
        assert torch.equal(loaded.encode(frames()), model.encode(frames()))
    save(loaded, tmp_path / "again", CARD)
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
    assert sha256(tmp_path / "again") == sha256(folder) == sha256(folder / "weights.safetensors")


def test_a_default_that_changes_later_changes_no_stored_model(model, folder, monkeypatch):
    monkeypatch.setitem(MLPPredictor.__init__.__kwdefaults__, "width", 24)
    monkeypatch.setitem(Decoder.__init__.__kwdefaults__, "width", 8)
    loaded = load(folder, device="cpu")
    assert loaded.predictor.out.in_features == model.predictor.out.in_features != 24
    assert loaded.decoder.out.in_channels == model.decoder.out.in_channels != 8


def test_the_hash_tells_models_apart(model, folder, tmp_path):
    with torch.no_grad():
        model.predictor.out.bias[0] += 1e-3
    save(model, tmp_path / "other", CARD)
    assert sha256(tmp_path / "other") != sha256(folder)


def test_half_storage_halves_the_parameters_and_keeps_the_buffers(model, folder, tmp_path):
    save(model, tmp_path / "half", CARD, half=True)
    loaded = load(tmp_path / "half", device="cpu")
    assert torch.equal(loaded.whitening, model.whitening)  # 1e6 does not fit float16
    for name, parameter in model.named_parameters():
        expected = parameter.detach().half().float()
        assert torch.equal(loaded.state_dict()[name], expected), name
        assert loaded.state_dict()[name].dtype == torch.float32
    stored = load_file(tmp_path / "half" / "weights.safetensors")
    assert sum(t.numel() * t.element_size() for t in stored.values()) < 0.55 * sum(
        t.numel() * 4 for t in model.state_dict().values()
    )


def test_the_weights_file_alone_is_enough(model, folder):
    loaded = load(folder / "weights.safetensors", device="cpu")
    assert loaded.card == CARD
    assert torch.equal(loaded.critic.latent_in.weight, model.critic.latent_in.weight)


def test_the_card_may_be_edited(folder):
    config = json.loads((folder / "config.json").read_text())
    config["card"]["figures"] = {"success": 0.9}
    before = sha256(folder)
    (folder / "config.json").write_text(json.dumps(config))
    assert load(folder).card["figures"] == {"success": 0.9}
    assert sha256(folder) == before


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_save_that_is_killed_leaves_the_old_or_the_new(make_jepa, model, folder, monkeypatch, killed_at):
    """Die at the first, second or third os.replace: before either file, between them, after both."""
    new = make_jepa(history=3)
    calls = []

    def replace(source, target, real=os.replace):
        calls.append(target)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with contextlib.suppress(KeyboardInterrupt):
        save(new, folder, {"name": "new"})
    expected = (model, CARD) if killed_at == 1 else (new, {"name": "new"})
    loaded = load(folder)
    assert loaded.card == expected[1] and loaded.spec == expected[0].spec
    assert torch.equal(loaded.predictor.out.weight, expected[0].predictor.out.weight)


# ------------------------------------------------------------------ what can be wrong


def refusal(path):
    """The error of load(path), which is one line."""
    with pytest.raises(CheckpointError) as raised:
        load(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_nothing_of_that_name(tmp_path, monkeypatch, folder):
    message = refusal(tmp_path / "nowhere")
    assert f"there is no model and no folder or file '{tmp_path}/nowhere'" in message
    monkeypatch.setattr(loading, "SHIPPED", folder.parent)
    assert shipped_models() == {"small": CARD}
    assert load("small").card == CARD
    message = refusal("smal")
    assert "the shipped models are small (did you mean 'small'?)" in message


def test_an_empty_folder(tmp_path):
    assert "config.json is missing: " in refusal(tmp_path)


def test_a_missing_weights_file(folder):
    (folder / "weights.safetensors").unlink()
    assert "weights.safetensors is missing" in refusal(folder)


def test_a_missing_config(folder):
    (folder / "config.json").unlink()
    assert "config.json is missing" in refusal(folder)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.01])
@pytest.mark.parametrize("alone", [False, True])
def test_a_truncated_file(folder, keep, alone):
    file = folder / "weights.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    message = refusal(file if alone else folder)
    assert f"weights.safetensors is truncated, it ends after {int(keep * len(content))} bytes" in message


def test_an_empty_file(folder):
    (folder / "weights.safetensors").write_bytes(b"")
    assert "weights.safetensors is empty" in refusal(folder)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n" + bytes(200), b"hello, this is a text file\n" * 9])
@pytest.mark.parametrize("alone", [False, True])
def test_a_file_that_is_no_safetensors(folder, content, alone):
    (folder / "weights.safetensors").write_bytes(content)
    message = refusal(folder / "weights.safetensors" if alone else folder)
    assert "weights.safetensors is not a safetensors file" in message


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_pickle_is_not_opened(folder, kind):
    file = folder / "weights.safetensors"
    if kind == "torch":
        torch.save({"a": Bomb()}, file)
    else:
        file.write_bytes(pickle.dumps(Bomb()))
    assert "is a pickle as torch.save writes it, not safetensors" in refusal(folder)


def test_weights_of_another_program(folder):
    save_file({"a": torch.zeros(3)}, folder / "weights.safetensors")
    assert "is not the weights file that" in refusal(folder)
    assert "is a safetensors file of no model that wmplan knows" in refusal(folder / "weights.safetensors")


def edit(folder, change):
    """Change the config; forget the hash, so that the weights still belong to it."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    config.pop("weights_sha256", None)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "its format is not 'wmplan'"),
        (lambda c: c.update(format_version=99), "has format_version 99, this version of wmplan reads 1"),
        (lambda c: c.pop("spec"), "lacks the section 'spec'"),
        (lambda c: c["architecture"].update(kind="oracle"), "architecture.kind is 'oracle'"),
        (lambda c: c["architecture"].update(encodr="vit"), "there is no key 'architecture.encodr'; did you mean"),
        (lambda c: c["architecture"].update(encoder="cnn"), "there is no encoder 'cnn'"),
        (lambda c: c["architecture"]["encoder_options"].update(channels="many"), "encoder_options.channels is 'many'"),
        (lambda c: c["architecture"]["encoder_options"].update(channels=["x"]), "encoder_options.channels[0] is 'x'"),
        (lambda c: c["architecture"]["encoder_options"].update(hidden=None), "encoder_options.hidden is None"),
        (lambda c: c["spec"].update(history=0), "history is 0, it has to be at least 1"),
        (lambda c: c["spec"].update(history="two"), "history is 'two', it has to be a whole number"),
        (lambda c: c["spec"].pop("image_size"), "image_size is missing"),
    ],
)
def test_a_wrong_config(folder, change, message):
    edit(folder, change)
    assert message in refusal(folder)


def test_a_config_that_is_no_json(folder):
    (folder / "config.json").write_text('{"format": "wmplan", ')
    assert "config.json is not valid JSON" in refusal(folder)


def test_weights_that_do_not_fit_name_a_few_of_the_differences(folder):
    changes = {"decoder": False, "predictor_options": {"width": 12, "depth": 3}}
    edit(folder, lambda c: c["architecture"].update(changes))
    message = refusal(folder)
    assert "6 missing (predictor.blocks.2.layers.0.bias, " in message
    assert "unexpected (decoder.latent_in.0.bias, " in message
    assert "predictor.action_in.0.weight (16, 6) for (12, 6)" in message
    assert "and " in message and len(message) < 900


def test_weights_that_are_not_finite(model, folder):
    from wmplan.models.checkpoint import read_weights

    tensors, header = read_weights(folder / "weights.safetensors")
    tensors["predictor.out.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "weights.safetensors", metadata={"wmplan": header})
    assert "holds numbers that are not finite, in predictor.out.weight" in refusal(folder)


def test_what_is_not_finite_is_not_saved(model, tmp_path):
    with torch.no_grad():
        model.predictor.out.bias[0] = 1e6  # more than float16 holds
    with pytest.raises(CheckpointError, match="holds numbers that are not finite, in predictor.out.bias"):
        save(model, tmp_path / "half", CARD, half=True)
    assert not (tmp_path / "half").exists()
    save(model, tmp_path / "full", CARD)


def test_another_labs_checkpoint_goes_to_who_knows_it(tmp_path, model, monkeypatch):
    import wmplan.models.public as public

    (tmp_path / "theirs.ckpt").write_bytes(b"something else")
    monkeypatch.setattr(public, "recognise", lambda path: model if path.name == "theirs.ckpt" else None, raising=False)
    assert load(tmp_path / "theirs.ckpt") is model


def test_a_name_on_the_hub_is_its_folder_in_the_cache(model, folder, monkeypatch):
    monkeypatch.setattr("wmplan.models.loading.local_path", {"hf://org/name": folder}.__getitem__)
    loaded = load("hf://org/name")
    assert sha256("hf://org/name") == sha256(folder)
    for before, after in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(before, after)
