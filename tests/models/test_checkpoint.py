import contextlib
import hashlib
import json
import os
import pickle
import shutil
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from wmplan.models import (
    JEPA,
    CheckpointError,
    JEPAConfig,
    ModelSpec,
    load,
    loading,
    save,
    sha256,
    shipped_models,
)
from wmplan.models.checkpoint import open_checkpoint
from wmplan.models.decoder import Decoder
from wmplan.models.predictors import MLPPredictor
from wmplan.models.weights_file import WeightsFile

SMALL = {"channels": [2, 2], "keypoints": 2, "hidden": 4}
SPEC = ModelSpec((8, 8), 1, 1, (-1.0,), (1.0,), (0.0,), (1.0,), (4,))
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


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_save_that_is_killed_leaves_the_old_or_the_new(make_jepa, model, folder, monkeypatch, killed_at):
    """Die at one os.replace or another: before the next configuration, the weights, the configuration, after all."""
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
    expected = (model, CARD) if killed_at <= 2 else (new, {"name": "new"})
    loaded = load(folder)
    assert loaded.card == expected[1] and loaded.spec == expected[0].spec
    assert torch.equal(loaded.predictor.out.weight, expected[0].predictor.out.weight)


def test_a_first_save_that_is_killed_before_its_configuration_is_whole(model, tmp_path, monkeypatch):
    def replace(source, target, real=os.replace):
        if os.path.basename(target) == "config.json":
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with contextlib.suppress(KeyboardInterrupt):
        save(model, tmp_path / "first", CARD)
    assert load(tmp_path / "first").card == CARD


def test_saving_leaves_two_files(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "weights.safetensors"]


def test_a_reader_beside_a_writer_gets_one_of_the_models(make_jepa, tmp_path):
    """Saved again and again by one thread, opened by another: always a whole checkpoint, by its history and card."""
    models = {history: make_jepa(history=history) for history in (2, 3)}
    save(models[2], tmp_path / "model", {"history": 2})
    ended = threading.Event()

    def write():
        for _ in range(20):
            for history, model in models.items():
                save(model, tmp_path / "model", {"history": history})
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not ended.is_set():
            config = open_checkpoint(tmp_path / "model").config
            assert config["card"]["history"] == config["spec"]["history"]
    finally:
        writer.join()


def test_figures_that_are_not_finite_are_written_as_null(model, tmp_path):
    figures = {"loss": float("nan"), "all": [1.0, float("inf"), (2, {"x": -float("inf")})]}
    save(model, tmp_path / "small", {"figures": figures})
    expected = {"loss": None, "all": [1.0, None, [2, {"x": None}]]}
    for path in (tmp_path / "small", tmp_path / "small" / "weights.safetensors"):
        assert load(path).card["figures"] == expected


def test_a_card_too_large_to_be_read_is_not_written(model, tmp_path):
    with pytest.raises(CheckpointError, match="the configuration and the card must have at most"):
        save(model, tmp_path / "small", {"notes": "x" * 5_000_000})
    assert not (tmp_path / "small").exists()


def test_a_model_whose_parts_were_wrapped_is_saved_under_its_own_names(model, tmp_path):
    weight = model.predictor.out.weight
    model.predictor = torch.nn.DataParallel(model.predictor)
    save(model, tmp_path / "wrapped", CARD)
    assert torch.equal(load(tmp_path / "wrapped").predictor.out.weight, weight)


def test_weights_that_an_older_version_stored_under_a_wrappers_names_load(model, folder):
    tensors = load_file(folder / "weights.safetensors")
    save_file({f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}, folder / "weights.safetensors")
    edit(folder, lambda config: None)
    assert torch.equal(load(folder).predictor.out.weight, model.predictor.out.weight)


# ------------------------------------------------------------------ what is read back is what was written


def as_old_versions_wrote(folder):
    """The folder without any hash."""
    config = json.loads((folder / "config.json").read_text())
    del config["weights_sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "weights.safetensors")
    save_file(tensors, folder / "weights.safetensors", metadata={"wmplan": json.dumps(config)})


def test_files_of_old_versions_carry_no_hash_and_load(model, folder):
    as_old_versions_wrote(folder)
    for path in (folder, folder / "weights.safetensors"):
        assert torch.equal(load(path).predictor.out.weight, model.predictor.out.weight)


def test_files_of_the_version_before_carry_one_hash_and_are_checked(model, folder):
    as_old_versions_wrote(folder)
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = sha256(folder)
    (folder / "config.json").write_text(json.dumps(config))
    assert torch.equal(load(folder).predictor.out.weight, model.predictor.out.weight)
    flip(folder / "weights.safetensors", -9)
    assert "is not the weights file that" in refusal(folder)


def flip(file, place, bit=2):
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a small model, its files, and what was saved."""
    model = JEPA(JEPAConfig(latent_dim=4, encoder_options=SMALL, predictor_options={"width": 8, "depth": 1}), SPEC)
    folder = tmp_path_factory.mktemp("saved") / "model"
    save(model, folder, CARD)
    return folder, {file.name: file.read_bytes() for file in folder.iterdir()}, model


@given(data=st.data(), alone=st.booleans())
@settings(max_examples=150, deadline=None)
def test_one_flipped_bit_never_gives_another_model(saved, data, alone):
    """Anywhere in either file: refused in one line, or the model that was saved (with another card at most)."""
    folder, contents, model = saved
    name = "weights.safetensors" if alone else data.draw(st.sampled_from(sorted(contents)))
    place = data.draw(st.integers(0, len(contents[name]) - 1) | st.integers(0, 1000))
    damaged = bytearray(contents[name])
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(damaged)
    try:
        loaded = load(folder / "weights.safetensors" if alone else folder, "cpu")
    except CheckpointError as error:
        assert str(error).isprintable()
    else:
        assert loaded.spec == model.spec and loaded.architecture == model.architecture
        for key, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor)
        key_of_hash = contents[name].index(b"sha256")  # without it a file is one of an old version
        assert name == "config.json" or key_of_hash <= place < key_of_hash + len("sha256")
    finally:
        (folder / name).write_bytes(contents[name])


@given(data=st.data(), alone=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_file_that_is_cut_filled_or_swapped_is_refused(saved, data, alone):
    folder, contents, _ = saved
    name = "weights.safetensors" if alone else data.draw(st.sampled_from(sorted(contents)))
    whole = contents[name]
    end = data.draw(st.integers(0, len(whole) - 2))
    kind = data.draw(st.sampled_from(["cut", "zeros", "twice", "longer"]))
    changed = {
        "cut": whole[:end],
        "zeros": whole[:end] + bytes(len(whole) - end),
        "twice": whole + whole,
        "longer": whole + b"x",
    }
    (folder / name).write_bytes(changed[kind])
    try:
        assert refusal(folder / "weights.safetensors" if alone else folder)
    finally:
        (folder / name).write_bytes(whole)


def test_another_models_weights_are_refused(make_jepa, folder, tmp_path):
    """Of the same sizes, so that they would fit: a folder put together from two."""
    other = make_jepa(critic=True, decoder=True, critic_options={"width": 8, "embedding": 8})
    save(other, tmp_path / "other", CARD)
    shutil.copy(tmp_path / "other" / "weights.safetensors", folder)
    assert "is not the weights file that" in refusal(folder)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("spec", "action_high", [9.0, 9.0, 9.0]), ("spec", "control_rate", 100.0), ("architecture", "extra", 1)],
)
def test_a_configuration_that_differs_from_the_copy_in_the_weights_is_refused(folder, section, key, value):
    config = json.loads((folder / "config.json").read_text())
    config[section][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    assert f"differ in {section}.{key}: the file is damaged or was edited" in refusal(folder)
    if section == "spec":  # as the message says
        edit(folder, lambda config: None)
        assert list(np.ravel(getattr(load(folder).spec, key))) == list(np.ravel(value))


def test_weights_of_transformer_blocks_have_the_names_that_stored_models_have(make_jepa):
    """Another name of a part would make every stored model of these kinds unreadable."""
    model = make_jepa(encoder="vit", predictor="transformer", encoder_options={"patch": 4}, predictor_options={})
    names = set(model.state_dict())
    for block in ("encoder.0.blocks.0", "predictor.blocks.0"):
        assert {f"{block}.perceptron.{layer}.weight" for layer in (0, 2)} <= names


def test_shipped_models_carry_their_hash_and_the_same_description_twice():
    for name in ("pusht", "arm_reach"):
        folder = loading.SHIPPED / name
        config = json.loads((folder / "config.json").read_text())
        assert config["weights_sha256"] == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
        header = WeightsFile(folder / "weights.safetensors").config
        assert all(header[section] == config[section] for section in ("architecture", "spec"))


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
        (lambda c: c.update(format="other"), "config.json beside it has not the format 'wmplan'"),
        (lambda c: c.update(format_version=99), "has format_version 99, this version of wmplan reads 1"),
        (lambda c: c.pop("spec"), "lacks the section 'spec'"),
        (lambda c: c["architecture"].update(kind="oracle"), "architecture.kind is 'oracle'"),
        (lambda c: c["architecture"].update(encodr="vit"), "there is no key 'architecture.encodr'; did you mean"),
        (lambda c: c["architecture"].update(encoder="cnn"), "there is no encoder 'cnn'"),
        (
            lambda c: c["architecture"]["encoder_options"].update(channels="many"),
            "encoder_options.channels must be a list, each entry a whole number, got 'many'",
        ),
        (
            lambda c: c["architecture"]["encoder_options"].update(channels=["x"]),
            "encoder_options.channels[0] must be a whole number, got 'x'",
        ),
        (
            lambda c: c["architecture"]["encoder_options"].update(hidden=None),
            "encoder_options.hidden must be a whole number, got None",
        ),
        (lambda c: c["spec"].update(history=0), "history must be at least 1, got 0"),
        (lambda c: c["spec"].update(history="two"), "history must be a whole number, got 'two'"),
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
    tensors = load_file(folder / "weights.safetensors")
    tensors["predictor.out.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "weights.safetensors")
    edit(folder, lambda config: None)
    assert "holds numbers that are not finite, in predictor.out.weight" in refusal(folder)


def test_what_is_not_finite_is_not_saved(model, tmp_path):
    with torch.no_grad():
        model.predictor.out.bias[0] = 1e6  # more than float16 holds
    with pytest.raises(CheckpointError, match="holds numbers that are not finite, in predictor.out.bias"):
        save(model, tmp_path / "half", CARD, half=True)
    assert not (tmp_path / "half").exists()
    save(model, tmp_path / "full", CARD)


def test_another_labs_checkpoint_goes_to_who_knows_it(tmp_path, model, monkeypatch):
    import wmplan.models.released as public

    (tmp_path / "theirs.ckpt").write_bytes(b"something else")
    monkeypatch.setattr(public, "recognise", lambda path: model if path.name == "theirs.ckpt" else None, raising=False)
    assert load(tmp_path / "theirs.ckpt") is model


def test_a_name_on_the_hub_is_its_folder_in_the_cache(model, folder, monkeypatch):
    monkeypatch.setattr("wmplan.models.loading.local_path", {"hf://org/name": folder}.__getitem__)
    loaded = load("hf://org/name")
    assert sha256("hf://org/name") == sha256(folder)
    for before, after in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(before, after)
