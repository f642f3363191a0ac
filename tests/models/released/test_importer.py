"""Files in the released formats: recognised, read strictly, and brought into our form."""

import json
import warnings

import pytest
import torch
from safetensors.torch import save_file

import wmplan.models as models
from wmplan.errors import UserError
from wmplan.models.released import import_checkpoint
from wmplan.models.released.families import FAMILIES

TOLD = {"action_low": [-1.0, -1.0], "action_high": [1.0, 1.0], "control_rate": 10}
PUSHT = {**TOLD, "statistics": "pusht"}


def nest(weights, parts, prefix=""):
    """Tensors by part, as most releases have them."""
    return {
        p: {prefix + n.removeprefix(f"{p}."): t for n, t in weights.items() if n.startswith(f"{p}.")} for p in parts
    }


def write_release(reference, folder):
    """The fixture's weights in the format of its release; gives the file or folder to open."""
    parts = sorted({name.split(".")[0] for name in reference.weights})
    extra = {"epoch": 3, "opt": {"state": {0: torch.randn(4)}}}
    if reference.name == "lewm":
        torch.save(reference.weights, folder / "weights.pt")
        return folder
    if reference.name == "vjepa2_ac":
        content = nest(reference.weights, parts, "module.backbone.") | extra
        content["encoder"]["module.backbone.pos_embed"] = torch.zeros(1, 16, 66)
        torch.save(content | {"target_encoder": content["encoder"]}, folder / "vjepa2-ac.pt")
        return folder / "vjepa2-ac.pt"
    if reference.name == "dino_wm":
        model = FAMILIES["dino_wm"].from_state_dict(reference.weights, reference.architecture)
        modules = {name: getattr(model, name) for name in parts}  # whole pickled modules
        torch.save(modules | {"decoder": torch.nn.Linear(2, 2)} | extra, folder / "model_latest.pth")
        return folder / "model_latest.pth"
    torch.save(nest(reference.weights, parts, "module.") | extra, folder / "jepa_wm_test.pth.tar")
    return folder / "jepa_wm_test.pth.tar"


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_release_becomes_a_folder_of_ours_and_loads_bit_for_bit(parity, tmp_path, name):
    reference = parity(name)
    (tmp_path / "release").mkdir()
    path = write_release(reference, tmp_path / "release")
    options = {"architecture": reference.architecture}
    if name == "jepa_wm":
        options |= {**TOLD, "action_low": [-1] * 4, "action_high": [1] * 4, "statistics": "metaworld"}
    else:
        options |= {"control_rate": 4} if name == "vjepa2_ac" else PUSHT
    if name == "dino_wm":
        options["encoder"] = "a/folder"
    out = import_checkpoint(path, tmp_path / "ours", options)
    assert json.loads((out / "config.json").read_text())["card"]["source"]["sha256"]
    model = models.load(out)
    assert isinstance(model, FAMILIES[name]) and not model.training
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, reference.weights[key])
    if name != "vjepa2_ac":
        assert model.spec.action_block == 5
    context = torch.zeros(1, 1, *model.spec.latent_shape)
    predicted = model.rollout(context, torch.zeros(1, 2, 2, model.spec.block_dim))
    assert torch.isfinite(predicted).all()
    last = model.rollout_last(context, torch.zeros(1, 2, 2, model.spec.block_dim))
    assert torch.equal(last[:, :, 0], predicted[:, :, -1])
    costs = model.native_objective(**model.card["planning"]["objective"]["native"])(predicted, context[:, 0], None)
    assert costs.shape == (1, 2)


def test_load_recognises_releases_and_says_what_is_taken_for_granted(parity, tmp_path):
    reference = parity("lewm")
    torch.save(reference.weights, tmp_path / "weights.pt")
    config = {"encoder": {"image_size": 56}, "predictor": {"heads": 4, "dim_head": 16}}
    (tmp_path / "config.json").write_text(json.dumps(config | {"_target_": "os.system"}))
    with pytest.warns(UserWarning, match="taken as normalised. `wmplan import"):
        model = models.load(tmp_path)
    with torch.inference_mode():
        predicted = model.rollout(reference.io["enc_emb"][None, :1], reference.io["actions"][None])
    assert (predicted[0] - reference.io["rollout_emb"][:, 1:]).abs().max() <= 1e-4
    assert model.card["licence"] == "MIT"


def test_weights_loaded_in_inference_mode_are_ordinary_ones(parity, tmp_path):
    torch.save(parity("lewm").weights, tmp_path / "weights.pt")
    config = {"encoder": {"image_size": 56}, "predictor": {"heads": 4, "dim_head": 16}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.inference_mode(), pytest.warns(UserWarning, match="taken as normalised"):
        model = models.load(tmp_path)
        assert model.folded() is model.folded()
    assert not any(tensor.is_inference() for tensor in model.state_dict().values())


@pytest.mark.parametrize("sizes", [{"input_dim": 32, "hidden_dim": 48}, {"hidden_dim": 40, "output_dim": 56}])
def test_a_predictor_wider_than_its_latent_is_read_off_its_tensors(parity, tmp_path, sizes):
    """stable-worldmodel's PLDM: no output_proj where the predictor's output has its own width."""
    architecture = parity("lewm").architecture
    known = {"heads": 4, "dim_head": 16}
    predictor = {**architecture["predictor"], "output_dim": 48, **known, **sizes}
    built = FAMILIES["lewm"].build({**architecture, "predictor": predictor}).eval()
    torch.save(built.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(json.dumps({"encoder": {"image_size": 56}, "predictor": known}))
    with pytest.warns(UserWarning, match="taken as normalised"):
        model = models.load(tmp_path)
    context, actions = torch.randn(1, 1, *built.spec.latent_shape), torch.randn(1, 2, 4, 10)
    assert built.spec.latent_shape == (predictor["input_dim"],)
    with torch.inference_mode():
        assert torch.equal(model.rollout(context, actions), built.rollout(context, actions))


def test_a_predictor_whose_output_is_no_latent_is_refused(parity):
    architecture = parity("lewm").architecture
    wrong = {**architecture, "pred_proj": {"dims": []}, "predictor": {**architecture["predictor"], "output_dim": 40}}
    with pytest.raises(ValueError, match="without pred_proj, predictor.output_dim must be the latent's width, 48"):
        FAMILIES["lewm"].build(wrong)


def test_stable_worldmodels_names_of_dino_wm(parity, tmp_path):
    reference = parity("dino_wm")
    theirs = {"backbone.embeddings.cls_token": torch.zeros(1, 1, 48)}
    for name, tensor in reference.weights.items():
        for part in ("proprio", "action"):
            name = name.replace(f"{part}_encoder.", f"extra_encoders.{part}.")
        theirs[name] = tensor
    ordered = sorted(theirs.items(), key=lambda item: ".action." in item[0])  # proprio before action
    torch.save(dict(ordered), tmp_path / "weights.pt")
    sizes = {"num_patches": 16, "num_frames": 3, "heads": 4, "dim_head": 16}
    config = {"encoder": {"name": "dinov2_small"}, "predictor": sizes, "history_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = models.load(tmp_path)
    assert model.window == 2 and model.architecture["visual_encoder"] == "facebook/dinov2-small"
    assert torch.equal(
        model.state_dict()["proprio_encoder.patch_embed.bias"], reference.weights["proprio_encoder.patch_embed.bias"]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"action_low": None, "control_rate": None},
            "does not say action_low, control_rate: give action_low=... control",
        ),
        ({"statistics": None}, "does not say action_mean, action_std"),
        ({"statistics": "pushup"}, "statistics must be one of pusht, metaworld, pointmaze, wall, got 'pushup'"),
        ({"action_lo": [1]}, "did you mean 'action_low'"),
        ({"action_low": [-1, -1, -1]}, "robot steps of 3 numbers do not fit"),
        ({"action_low": "far"}, "action_low must be a list of numbers, got 'far'"),
        ({"action_high": [-2, -2]}, "action_low is above action_high"),
        ({"cameras": ["front", "wrist"]}, "these models see one"),
    ],
)
def test_what_an_import_lacks_is_asked_for_in_one_line(parity, tmp_path, change, message):
    reference = parity("lewm")
    torch.save(reference.weights, tmp_path / "weights.pt")
    options = {**PUSHT, "architecture": reference.architecture, **change}
    with pytest.raises(UserError, match=message) as error:
        import_checkpoint(tmp_path / "weights.pt", tmp_path / "out", options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_wrong_files_get_one_line_each(parity, tmp_path):
    reference, other = parity("lewm"), parity("jepa_wm")
    torch.save(reference.weights, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:-2000])
    mixed = dict(reference.weights) | {"predictor.pos_embedding": torch.zeros(1, 3, 40)}
    torch.save(mixed, tmp_path / "mixed.pt")
    torch.save({name.replace(".", "_"): tensor for name, tensor in other.weights.items()}, tmp_path / "renamed.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x27\0\0\0\0\0\0{")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    options = {**PUSHT, "architecture": reference.architecture}
    for name, message in {
        "cut.pt": "truncated",
        "mixed.pt": "of another shape",
        "renamed.pt": "holds no checkpoint of LeWM, DINO-WM",
        "cut.safetensors": "cut.safetensors",
        "foreign.safetensors": "holds no checkpoint of",
        "absent.pt": "no file or folder",
    }.items():
        with pytest.raises(UserError, match=message) as error:
            import_checkpoint(tmp_path / name, tmp_path / "out", options)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="several weights files"):
        import_checkpoint(tmp_path, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_states_its_sizes_loads_as_it_is(fixtures, tmp_path):
    for name, family in FAMILIES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert isinstance(models.load(fixtures / name), family)
